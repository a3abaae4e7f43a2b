//! The local edits of `/etc`: found, compared, and carried from one release to the next.
