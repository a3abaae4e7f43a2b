//! Environments, oracles and drivers for the tests.
