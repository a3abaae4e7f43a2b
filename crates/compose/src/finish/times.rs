//! Nothing is newer than the lock's epoch.

use elea_formats::tree::{Time, Tree};

/// Sets back what is newer.
pub(crate) fn clamp(tree: &mut Tree, epoch: i64) {
    tree.each_meta(|meta| {
        if meta.mtime.seconds >= epoch {
            meta.mtime = Time {
                seconds: epoch,
                nanoseconds: 0,
            };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::tree::{DirId, Meta};

    #[test]
    fn only_what_is_newer_is_set_back() {
        let mut tree = Tree::new();
        let mut made = Vec::new();
        for (name, seconds, nanoseconds) in [("a", 1000, 7), ("b", 2000, 7), ("c", 3000, 0)] {
            let mtime = Time {
                seconds,
                nanoseconds,
            };
            let meta = Meta {
                mtime,
                ..Meta::default()
            };
            made.push(tree.add_directory(DirId::ROOT, name.as_bytes(), &meta));
        }
        clamp(&mut tree, 2000);
        let times = made.iter().map(|id| tree.meta(*id).mtime);
        let times: Vec<_> = times.map(|t| (t.seconds, t.nanoseconds)).collect();
        assert_eq!(times, [(1000, 7), (2000, 0), (2000, 0)]);
    }
}
