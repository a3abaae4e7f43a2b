//! What an image's layers hold, for who looks and keeps nothing.

use crate::offer::wanted;
use crate::source::Image;
use crate::{NetError, Options, layers};
use elea_formats::oci::reference::Reference;
use elea_store::Store;
use elea_store::layer::Layer;
use elea_sys::progress::Progress;

/// Brings an image's layers into a store, lowest first. Their digests are checked, and no signature
/// is asked for: this is for a store that is thrown away, not for an image that is kept.
pub fn look(
    reference: &Reference,
    store: &Store,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<Layer>, NetError> {
    let image = Image::locate(reference, options)?;
    let opened = image.open(progress)?;
    let config = image.config(&opened, progress)?;
    let wanted = wanted(store, &image.reference, &opened, &config)?;
    let what = &image.reference;
    let brought = layers::bring(&image.source, what, &wanted, store, options, progress)?;
    Ok(brought.layers)
}
