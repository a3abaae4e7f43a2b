//! Fetching and pushing: the only code that talks to a network.
