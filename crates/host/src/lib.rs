//! One machine: generations, boot, state, health, log, installation.
