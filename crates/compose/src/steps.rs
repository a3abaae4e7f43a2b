//! Results of steps of a build, kept in the store by a digest of all that went into them.
//!
//! A step gives a tree. It is an image of the form `raw` under a name that begins with [`NAME`]; another build for which
//! the same goes into the step takes it from there. Nothing but time depends on what is kept: an image that somebody
//! removed is made again.
//!
//! An image brings the results that it was made of along (`docs/formats/source.md`): most of their contents are in it
//! anyway. So a machine that builds its own config anew installs no package for it.

use crate::lock::Error;
use elea_formats::digest::{Digest, Sha256};
use elea_formats::erofs;
use elea_formats::form::Form;
use elea_formats::tree::{Content, Tree};
use elea_store::{Origin, Store};
use elea_sys::At as _;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// How the names and the sources of kept results begin; the kind of the step follows.
pub const NAME: &str = "step:";

/// Where results stand below the folder of an image's source, by kind and digest of the inputs; and those of their
/// contents that the image does not have as its own.
const RESULTS: &str = "steps";
const CONTENTS: &str = "objects";
/// Bounds in bytes: of a result's image, and of a content.
const MAX_IMAGE: u64 = 1 << 30;
const MAX_CONTENT: u64 = 1 << 30;

/// A kind of step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// Its word in names and messages.
    pub(crate) word: &'static str,
    /// Changes when the same inputs give another result.
    pub(crate) version: u32,
    /// How many results are kept.
    pub(crate) most: usize,
}

/// The result of a step.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Its kind and the digest of what went into it.
    pub(crate) name: String,
    /// The image that keeps it.
    pub(crate) image: Digest,
    pub(crate) tree: Tree,
}

/// The results of a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps<'s> {
    pub(crate) store: &'s Store,
    /// Whether everything is made, whatever is kept.
    pub(crate) fresh: bool,
    /// Whether what is made is kept for later builds.
    pub(crate) keeps: bool,
    /// What the image of this system was made of: the folder that is in it. Whoever made what runs here can be believed.
    pub(crate) source: &'s Path,
}

impl Steps<'_> {
    /// The tree that a step gives for these inputs: the kept one, or what `make` makes.
    pub(crate) fn take(
        &self,
        kind: Kind,
        inputs: &serde_json::Value,
        make: impl FnOnce() -> Result<Tree, Error>,
    ) -> Result<Kept, Error> {
        let key = serde_json::json!([kind.word, kind.version, inputs]);
        let key = Sha256::of(key.to_string().as_bytes());
        let short = format!("{}-{key}", kind.word);
        let name = format!("{NAME}{}:{key}", kind.word);
        if !self.fresh
            && let Ok(image) = self.store.resolve(&name)
            // Objects that are gone are found when the result is used in an image; those of a
            // name are not collected.
            && let Ok(tree) = self.store.tree(&image)
        {
            return Ok(Kept {
                name: short,
                image,
                tree,
            });
        }
        let brought = if self.fresh {
            None
        } else {
            self.brought(&short)?
        };
        let tree = match brought {
            Some(tree) => tree,
            None => make()?,
        };
        let origin = Origin {
            source: format!("{NAME}{}", kind.word),
            ..Origin::default()
        };
        let made = self.store.seal(tree, Form::Raw, &origin)?;
        // Without a name it stays as long as the lease of this build.
        if self.keeps {
            self.store.set_ref(&name, &made.image)?;
            self.forget(kind, &name)?;
        }
        Ok(Kept {
            name: short,
            image: made.image,
            tree: self.store.tree(&made.image)?,
        })
    }

    /// The result that the image of this system brings; none if it brings none that this store can use.
    fn brought(&self, name: &str) -> Result<Option<Tree>, Error> {
        let Some(image) = read(&self.source.join(RESULTS).join(name), MAX_IMAGE)? else {
            return Ok(None);
        };
        // One of another algorithm, or of a newer format, is none for us.
        let Ok(tree) = erofs::read_into(&image, self.store.empty_tree()) else {
            return Ok(None);
        };
        let draft = self.store.draft(tree)?;
        for (digest, _) in objects(&draft.tree) {
            if self.store.has_object(&digest) {
                continue;
            }
            let path = self.source.join(CONTENTS).join(digest.to_string());
            let content = match read(&path, MAX_CONTENT)? {
                Some(bytes) => draft.content(&bytes)?,
                None => return Ok(None),
            };
            if !matches!(content, Content::Object { digest: found, .. } if found == digest) {
                return Ok(None);
            }
        }
        Ok(Some(draft.finish()))
    }

    /// Takes the names of the oldest results that are too many.
    fn forget(&self, kind: Kind, newest: &str) -> Result<(), Error> {
        let prefix = format!("{NAME}{}:", kind.word);
        let mut kept = Vec::new();
        for (name, image) in self.store.refs()? {
            if name.starts_with(&prefix) && name != newest {
                let manifest = self.store.image(&image);
                kept.push((manifest.map(|m| m.imported).unwrap_or_default(), name));
            }
        }
        kept.sort();
        let over = (kept.len() + 1).saturating_sub(kind.most);
        for (_, name) in kept.into_iter().take(over) {
            self.store.remove_ref(&name)?;
        }
        Ok(())
    }
}

/// What an image needs to know of a result that it is made of.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    image: Digest,
    objects: BTreeMap<Digest, u64>,
}

impl Kept {
    pub(crate) fn part(&self) -> Part {
        Part {
            name: self.name.clone(),
            image: self.image,
            objects: objects(&self.tree),
        }
    }
}

/// What an image of this tree brings along of these results: paths below the folder of its source, and contents that the
/// store has.
pub(crate) fn bring(
    store: &Store,
    parts: &[Part],
    image: &Tree,
) -> Result<BTreeMap<String, Content>, Error> {
    let own = objects(image);
    let mut out = BTreeMap::new();
    for part in parts {
        let digest = part.image;
        let path = store.object_path(&digest);
        let size = path.symlink_metadata().at("look at", &path)?.len();
        let content = Content::Object { digest, size };
        out.insert(format!("{RESULTS}/{}", part.name), content);
        for (&digest, &size) in &part.objects {
            if !own.contains_key(&digest) {
                let content = Content::Object { digest, size };
                out.insert(format!("{CONTENTS}/{digest}"), content);
            }
        }
    }
    Ok(out)
}

/// The objects of a tree, with their sizes in bytes: not those of files that were removed from it.
fn objects(tree: &Tree) -> BTreeMap<Digest, u64> {
    let names = tree.count_names();
    let named = tree.leaves().filter(|id| names[id.index()] > 0);
    named.filter_map(|id| tree.object(id)).collect()
}

/// A file of at most this many bytes; none if there is none.
fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        // An ordinary user may not look into the folder.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(e).at("open", path)?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::tree::{DirId, Meta};
    use std::cell::Cell;

    const KIND: Kind = Kind {
        word: "try",
        version: 1,
        most: 2,
    };

    #[test]
    fn a_step_is_done_once_for_its_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(&folder.path().join("store")).unwrap();
        let made = Cell::new(0);
        let take = |steps: &Steps<'_>, kind: Kind, input: &str| {
            let tree = steps.take(kind, &serde_json::json!(input), || {
                made.set(made.get() + 1);
                let mut tree = store.empty_tree();
                tree.add_directory(DirId::ROOT, input.as_bytes(), &Meta::default());
                Ok(tree)
            });
            assert!(tree.unwrap().tree.get(input.as_bytes()).is_some());
            made.get()
        };
        let steps = Steps {
            store: &store,
            fresh: false,
            keeps: true,
            source: Path::new("/nonexistent"),
        };
        assert_eq!(take(&steps, KIND, "a"), 1);
        assert_eq!(take(&steps, KIND, "a"), 1);
        assert_eq!(take(&steps, KIND, "b"), 2);
        assert_eq!(take(&steps, KIND, "a"), 2);
        let newer = Kind { version: 2, ..KIND };
        assert_eq!(take(&steps, newer, "a"), 3);
        // Two are kept, and the first is the oldest.
        let names: Vec<String> = store.refs().unwrap().into_keys().collect();
        assert_eq!(names.len(), 2, "{names:?}");
        let fresh = Steps {
            fresh: true,
            ..steps
        };
        assert_eq!(take(&fresh, newer, "a"), 4);
        // What is made at another time is not kept.
        let elsewhere = Steps {
            keeps: false,
            ..steps
        };
        assert_eq!(take(&elsewhere, KIND, "c"), 5);
        assert_eq!(take(&elsewhere, KIND, "c"), 6);
        assert_eq!(take(&steps, newer, "a"), 6);
        // Without its image it is made again.
        for (name, _) in store.refs().unwrap() {
            store.remove_ref(&name).unwrap();
        }
        assert_eq!(take(&steps, newer, "a"), 7);
    }

    #[test]
    fn a_system_brings_what_it_is_made_of_and_damage_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second, third] = ["first", "second", "third"]
            .map(|name| Store::init(&folder.path().join(name)).unwrap());
        let source = folder.path().join("source");
        let large = vec![7; 100_000];
        let steps = |store| Steps {
            store,
            fresh: false,
            keeps: true,
            source: &source,
        };
        let input = serde_json::json!("input");
        let made = steps(&first).take(KIND, &input, || {
            let mut draft = first.draft(first.empty_tree())?;
            for (name, bytes) in [("large", &*large), ("small", b"few".as_slice())] {
                let leaf = elea_formats::tree::Leaf {
                    meta: Meta::default(),
                    content: draft.content(bytes)?,
                };
                draft.tree.put_leaf(DirId::ROOT, name.as_bytes(), &leaf);
            }
            Ok(draft.finish())
        });
        let made = made.unwrap();
        // What the image has itself is not brought twice.
        let own = bring(&first, &[made.part()], &made.tree).unwrap();
        assert_eq!(own.len(), 1, "{own:?}");
        // One that was removed from the image is not in it.
        let mut image = first.tree(&made.image).unwrap();
        image.remove(DirId::ROOT, b"large");
        let brought = bring(&first, &[made.part()], &image).unwrap();
        assert_eq!(brought.len(), 2, "{brought:?}");
        let mut contents = Vec::new();
        for (path, content) in &brought {
            let Content::Object { digest, .. } = content else {
                panic!("{content:?}")
            };
            let to = source.join(path);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(first.object_path(digest), &to).unwrap();
            contents.extend(path.starts_with(CONTENTS).then_some(to));
        }
        let again = steps(&second).take(KIND, &input, || panic!("it is there"));
        let again = again.unwrap();
        assert_eq!(again.image, made.image);
        let read = second.read_file(&again.tree, "large", 1 << 20).unwrap();
        assert_eq!(read.unwrap(), large);

        std::fs::remove_file(&contents[0]).unwrap();
        std::fs::write(&contents[0], b"something else").unwrap();
        let made = Cell::new(false);
        let other = steps(&third).take(KIND, &input, || {
            made.set(true);
            Ok(third.empty_tree())
        });
        other.unwrap();
        assert!(made.get());
    }
}
