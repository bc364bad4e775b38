//! The Secrets mounted into the pod, and whether they have changed.
//!
//! The kubelet replaces the content of the folder a minute or so after the Secret has changed. A process that restarts
//! reads the new content: a restart is cheap here and loses nothing, and no part of an old password or certificate is
//! ever mixed with a new one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::middle_manager::controller::decide::objects::{
    AUTH_DIR, OVERLORD_CA_DIR, SUBMISSIONS_DIR, TLS_DIR, ZOOKEEPER_DIR,
};

/// How often the files are read: they are few and small.
const LOOK: Duration = Duration::from_secs(10);

/// A hash of the folders' content when the process started.
#[derive(Debug, Clone)]
pub struct SecretWatch {
    folders: Vec<PathBuf>,
    content: [u8; 32],
}

impl SecretWatch {
    /// Reads the folders of all Secrets that a `VirtualMiddleManager` can name.
    #[must_use]
    pub fn now() -> Self {
        let folders = [AUTH_DIR, TLS_DIR, OVERLORD_CA_DIR, ZOOKEEPER_DIR, SUBMISSIONS_DIR];
        Self::of(folders.iter().map(PathBuf::from).collect())
    }

    fn of(folders: Vec<PathBuf>) -> Self {
        let content = content(&folders);
        Self { folders, content }
    }

    /// Ends once they have changed to valid content: a process that could not start with the new content should
    /// continue. `check` returns what is invalid.
    pub async fn changed(&self, check: impl Fn() -> anyhow::Result<()>) {
        let mut look = tokio::time::interval(LOOK);
        let mut refused = self.content;
        loop {
            look.tick().await;
            match self.differs(&check) {
                None => {}
                Some((_, Ok(()))) => return,
                // Logged once.
                Some((content, Err(_))) if content == refused => {}
                Some((content, Err(error))) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "a mounted Secret has changed but cannot be used: its previous content stays in use"
                    );
                    refused = content;
                }
            }
        }
    }

    /// The changed content, and whether it is valid.
    fn differs(&self, check: impl Fn() -> anyhow::Result<()>) -> Option<([u8; 32], anyhow::Result<()>)> {
        let now = content(&self.folders);
        if now == self.content {
            return None;
        }
        let checked = check();
        // It may have been replaced while it was checked.
        (content(&self.folders) == now).then_some((now, checked))
    }
}

/// A hash of all files of the folders; a file that does not exist or cannot be read counts as empty.
fn content(folders: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for folder in folders {
        for file in files(folder) {
            hash.update(file.as_os_str().as_encoded_bytes());
            hash.update(Sha256::digest(std::fs::read(&file).unwrap_or_default()));
        }
    }
    hash.finalize().into()
}

/// The visible files of a folder, in order. The kubelet's own files, which begin with two dots, are used for
/// replacement.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_own = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b"..");
    let mut files: Vec<_> = entries
        .filter(|e| !is_own(&e.file_name()))
        .map(|e| e.path())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder as the kubelet makes it: `..data` is exchanged at once.
    fn exchange(folder: &Path, version: &str, password: &str) {
        let content = folder.join(format!("..{version}"));
        fs::create_dir(&content).unwrap();
        fs::write(content.join("password"), password).unwrap();
        symlink(format!("..{version}"), folder.join("..next")).unwrap();
        fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    }

    #[test]
    fn another_content_is_seen_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        exchange(folder.path(), "1", "secret");
        symlink("..data/password", folder.path().join("password")).unwrap();
        let mounted = SecretWatch::of(vec![folder.path().to_owned(), folder.path().join("absent")]);
        assert!(mounted.differs(|| Ok(())).is_none());
        exchange(folder.path(), "2", "secret");
        assert!(mounted.differs(|| Ok(())).is_none(), "the same content again");
        exchange(folder.path(), "3", "another");
        assert!(matches!(mounted.differs(|| Ok(())), Some((_, Ok(())))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_used_does_not_end_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "secret").unwrap();
        let mounted = SecretWatch::of(vec![folder.path().to_owned()]);
        let check = || {
            let password = fs::read_to_string(&file)?;
            anyhow::ensure!(!password.is_empty(), "no password");
            Ok(())
        };
        fs::write(&file, "").unwrap();
        let minute = Duration::from_secs(60);
        assert!(
            tokio::time::timeout(minute, mounted.changed(check))
                .await
                .is_err()
        );
        fs::write(&file, "another").unwrap();
        assert!(tokio::time::timeout(minute, mounted.changed(check)).await.is_ok());
    }

    #[test]
    fn a_secret_that_was_not_there_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let mounted = SecretWatch::of(vec![folder.path().join("auth")]);
        fs::create_dir(folder.path().join("auth")).unwrap();
        assert!(mounted.differs(|| Ok(())).is_none());
        fs::write(folder.path().join("auth/username"), "druid").unwrap();
        assert!(matches!(mounted.differs(|| Ok(())), Some((_, Ok(())))));
    }
}
