//! Where expensive things live between runs, and how they get there whole or not at all.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The user's cache folder for this project.
///
/// Everything in it can be deleted at any time while no cluster is up; the next run builds it again.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Finds the folder: `$PEON_CACHE`, else `$XDG_CACHE_HOME/peon-operator`, else
    /// `~/.cache/peon-operator`. Creates it when missing.
    ///
    /// # Errors
    /// When no home folder is known or the folder cannot be made.
    pub fn open() -> Result<Self> {
        let set = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = match (set("PEON_CACHE"), set("XDG_CACHE_HOME"), set("HOME")) {
            (Some(root), _, _) => root,
            (None, Some(xdg), _) => xdg.join("peon-operator"),
            (None, None, Some(home)) => home.join(".cache/peon-operator"),
            (None, None, None) => anyhow::bail!("set PEON_CACHE (or HOME) to a folder with 8 GB free"),
        };
        fs::create_dir_all(&root)
            .with_context(|| format!("cannot create the cache folder {}", root.display()))?;
        let root = fs::canonicalize(&root).with_context(|| format!("cannot resolve {}", root.display()))?;
        Ok(Self { root })
    }

    /// A path below the cache folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Returns the entry `name`, building it first when it is missing.
    ///
    /// `build` gets a path that does not exist yet and makes a file or a folder there; only when it
    /// succeeds does the entry appear under its name. An interrupted build is never taken for whole.
    ///
    /// # Errors
    /// When `build` fails or the result cannot be moved into place.
    pub fn entry(&self, name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let finished = self.path(name);
        if finished.exists() {
            return Ok(finished);
        }
        let unfinished = self.path(&format!("{name}.unfinished"));
        remove(&unfinished)?;
        if let Some(parent) = unfinished.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        build(&unfinished)?;
        fs::rename(&unfinished, &finished)
            .with_context(|| format!("cannot move {} into place", unfinished.display()))?;
        Ok(finished)
    }
}

/// Removes a file or a whole folder; what is already gone is fine.
///
/// # Errors
/// When something is there and cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    gone.with_context(|| format!("cannot remove {}", path.display()))
}

/// Writes a file and the folders above it.
///
/// # Errors
/// When the file system refuses.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Names a content: the first twelve hex digits of the SHA-256 of all parts.
#[must_use]
pub fn content_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") apart from ("a", "bc").
        sha.update(part.len().to_le_bytes());
        sha.update(part);
    }
    hex(&sha.finalize()[..6])
}

/// Two hex digits for each byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_tells_parts_apart() {
        let hash = |parts: &[&str]| content_hash(parts.iter().map(|p| p.as_bytes()));
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_eq!(hash(&["ab", "c"]).len(), 12);
    }
}
