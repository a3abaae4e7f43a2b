//! A file of an image, without reading the rest.

use super::read::{ReadError, Reader, content_of, spend};
use super::source::{Source, invalid, target};
use super::{LAYOUT_CHUNKS, Type};
use crate::digest::Algorithm;
use crate::table::memory;
use crate::tree::{Content, Found, TooManyLinks, Tree, walk_to};

/// Why a file of an image is not found.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LookError {
    /// The image.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The path.
    #[error(transparent)]
    Links(#[from] TooManyLinks),
}

/// What the regular file holds that a path leads to, links followed inside the image; none if there is nothing, or
/// something else. Only the folders on the way are read. `algorithm` is what objects are to be named by.
pub fn file(image: &[u8], path: &[u8], algorithm: Algorithm) -> Result<Option<Content>, LookError> {
    let source = Source::open(image)?;
    // As much as the longest path leads through; links could go on and on.
    let mut left = source.size().saturating_mul(64);
    let look = |folder: u64, name: &[u8]| {
        let folder = source.head(folder)?;
        let size = usize::try_from(folder.size).unwrap_or(usize::MAX);
        spend(&mut left, size, "folders")?;
        let entries = source.entries(&folder)?;
        let Ok(at) = entries.binary_search_by_key(&name, |(name, _)| name) else {
            return Ok::<_, LookError>(None);
        };
        let (_, number) = entries[at];
        let head = source.head(number)?;
        Ok(Some(match head.kind {
            Type::Directory => Found::Folder(number),
            Type::Symlink => match source.content(&head, "link")? {
                [to, []] | [[], to] => Found::Leaf(head, Some(target(to)?)),
                _ => return Err(invalid("link's size", &head.size).into()),
            },
            _ => Found::Leaf(head, None),
        }))
    };
    let Some(Found::Leaf(head, None)) = walk_to(source.root, path, true, look)? else {
        return Ok(None);
    };
    if head.kind != Type::Regular {
        return Ok(None);
    }
    let mut reader = Reader::new(source, Tree::within(&memory(), algorithm))?;
    if head.layout != LAYOUT_CHUNKS {
        return Ok(Some(reader.held(&head)?));
    }
    let mut meta = reader.meta(&head)?;
    Ok(Some(content_of(&mut meta, head.size, algorithm)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump;
    use crate::erofs::{Version, write};
    use crate::tree::Node;

    #[test]
    fn a_file_is_what_the_whole_tree_has_there() {
        let digest = "ab".repeat(32);
        let object = format!("{}/{}", &digest[..2], &digest[2..]);
        let text = format!(
            "/ 0 40755 4 0 0 0 1.0 - - -\n\
             /a 0 40755 2 0 0 0 1.0 - - -\n\
             /a/large 5000 100644 1 0 0 0 1.0 {object} - {digest}\n\
             /a/link 5 120777 1 0 0 0 1.0 ../to - -\n\
             /a/p 0 10644 1 0 0 0 1.0 - - -\n\
             /a/small 3 100644 1 0 0 0 1.0 - abc -\n\
             /round 5 120777 1 0 0 0 1.0 round - -\n\
             /to 7 120777 1 0 0 0 1.0 a/small - -\n"
        );
        let tree = dump::parse(text.as_bytes()).unwrap();
        let image = write(&tree, Version::V1);
        for path in [
            "a/large",
            "a/small",
            "/a/link",
            "to",
            "a/../a/./small",
            "a/p",
            "a",
            "",
            "none",
            "a/none/x",
            "a/small/x",
        ] {
            let whole = match tree.follow(path.as_bytes()).unwrap() {
                Some(Node::Leaf(id)) => Some(tree.content(id).to_owned()),
                _ => None,
            };
            let whole = whole.filter(|c| matches!(c, Content::Inline(_) | Content::Object { .. }));
            assert_eq!(
                file(&image, path.as_bytes(), tree.algorithm()).unwrap(),
                whole,
                "{path}"
            );
        }
        let error = file(&image, b"round", tree.algorithm()).unwrap_err();
        assert!(matches!(error, LookError::Links(_)), "{error}");
        let error = file(&image, b"a/large", Algorithm::Sha512).unwrap_err();
        assert!(
            matches!(error, LookError::Read(ReadError::Algorithm { .. })),
            "{error}"
        );
    }
}
