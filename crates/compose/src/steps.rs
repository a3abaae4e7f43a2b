//! Results of steps of a build, kept in the store by a digest of all that went into them.
//!
//! A step gives a tree. It is an image of the form `raw` under a name that begins with [`NAME`]; another build for which
//! the same goes into the step takes it from there. Nothing but time depends on what is kept: an image that somebody
//! removed is made again.

use crate::lock::Error;
use elea_formats::digest::{Digest, Sha256};
use elea_formats::form::Form;
use elea_formats::tree::Tree;
use elea_store::{Origin, Store};

/// How the names and the sources of kept results begin; the kind of the step follows.
pub const NAME: &str = "step:";

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
        let name = format!("{NAME}{}:{key}", kind.word);
        if !self.fresh
            && let Ok(image) = self.store.resolve(&name)
            // Objects that are gone are found when the result is used in an image; those of a
            // name are not collected.
            && let Ok(tree) = self.store.tree(&image)
        {
            return Ok(Kept { image, tree });
        }
        let tree = make()?;
        let origin = Origin {
            source: format!("{NAME}{}", kind.word),
            ..Origin::default()
        };
        let made = self.store.seal(tree, Form::Raw, &origin)?;
        self.store.set_ref(&name, &made.image)?;
        self.forget(kind, &name)?;
        Ok(Kept {
            image: made.image,
            tree: self.store.tree(&made.image)?,
        })
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
        // Without its image it is made again.
        for (name, _) in store.refs().unwrap() {
            store.remove_ref(&name).unwrap();
        }
        assert_eq!(take(&steps, newer, "a"), 5);
    }
}
