//! The release as files: workflows that are well formed, and scripts that do here what can be done without a registry.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end this way")]

mod scripts;
mod workflows;

use std::path::PathBuf;

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
