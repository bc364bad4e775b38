//! Reads files that a task may have replaced.
//!
//! The sidecar has keys of the store that the peon does not have. So it reads only regular files from the peon's
//! volumes and follows no links: otherwise a task could have those keys archived as its report. A pipe must not block
//! it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

/// Opens the regular file `path` below the directory `root`, following no link below `root`.
///
/// # Errors
/// When there is none, or it is something else.
pub fn open(root: &Path, path: &[&str], write: bool) -> io::Result<File> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Some((name, directories)) = path.split_last() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut at = openat(CWD, root, directory, Mode::empty())?;
    for name in directories {
        at = openat(&at, *name, directory | OFlags::NOFOLLOW, Mode::empty())?;
    }
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(&at, *name, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not a regular file",
        ))
    }
}

/// The number in a small file, if there is one.
#[must_use]
pub fn number(root: &Path, name: &str) -> Option<u64> {
    let mut text = String::new();
    let file = open(root, &[name], false).ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    // Without its line break the number may be incomplete.
    text.strip_suffix('\n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn links_and_pipes_are_not_read() {
        let root = std::env::temp_dir().join(format!("peon-plain-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/report"), "text").unwrap();
        let mut text = String::new();
        open(&root, &["a", "b", "report"], false)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "text");
        symlink(root.join("a/b/report"), root.join("a/b/link")).unwrap();
        symlink("b", root.join("a/c")).unwrap();
        let made = Command::new("mkfifo").arg(root.join("a/b/pipe")).status();
        assert!(made.unwrap().success());
        for path in [
            &["a", "b", "link"][..],
            &["a", "c", "report"],
            &["a", "b", "pipe"],
            &["a", "b", "none"],
            &["a", "b"],
            &[],
        ] {
            assert!(open(&root, path, false).is_err(), "{path:?}");
        }
        // The directory itself may be reached by one: it is where a volume is mounted.
        symlink(&root, root.join("self")).unwrap();
        assert!(open(&root.join("self"), &["a", "b", "report"], true).is_ok());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_number_is_a_whole_line() {
        let root = std::env::temp_dir().join(format!("peon-number-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        for (text, expected) in [
            ("12\n", Some(12)),
            ("12", None),
            ("", None),
            ("\n", None),
            ("-1\n", None),
            ("123456789012345678901234567890123\n", None),
        ] {
            fs::write(root.join("n"), text).unwrap();
            assert_eq!(number(&root, "n"), expected, "{text:?}");
        }
        assert_eq!(number(&root, "none"), None);
        fs::remove_dir_all(&root).unwrap();
    }
}
