//! The file that a peon writes its log to.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::plain_file;

/// The log in the volume shared by peon and sidecar.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    name: &'static str,
    file: Option<File>,
    freed: u64,
    can_free: bool,
}

impl Spool {
    /// The file with this name in this directory; it need not exist yet.
    #[must_use]
    pub fn new(dir: &Path, name: &'static str) -> Self {
        Self {
            dir: dir.to_owned(),
            name,
            file: None,
            freed: 0,
            can_free: true,
        }
    }

    fn file(&mut self) -> io::Result<Option<&File>> {
        if self.file.is_none() {
            // Freeing space needs write access.
            self.file = match plain_file::open(&self.dir, &[self.name], true) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        Ok(self.file.as_ref())
    }

    /// Bytes written so far.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn written(&mut self) -> io::Result<u64> {
        match self.file()? {
            Some(file) => Ok(file.metadata()?.len()),
            None => Ok(0),
        }
    }

    /// Bytes from `at` on.
    ///
    /// # Errors
    /// When they are not there.
    pub fn read(&mut self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        match self.file()? {
            Some(file) => file.read_exact_at(&mut bytes, at)?,
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(bytes)
    }

    /// Frees the space of the bytes before `until`; the file keeps its length. If the file system does not support
    /// this, it is not tried again.
    pub fn free(&mut self, until: u64) {
        if !self.can_free || until <= self.freed {
            return;
        }
        let (from, length) = (self.freed, until - self.freed);
        let Ok(Some(file)) = self.file() else { return };
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(file, hole, from, length) {
            Ok(()) => self.freed = until,
            Err(Errno::INTR) => {}
            Err(error) => {
                tracing::info!(%error, "the file system cannot free the space of archived parts");
                self.can_free = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_freed_takes_no_space_and_the_rest_stays() {
        let dir = std::env::temp_dir().join(format!("peon-spool-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut spool = Spool::new(&dir, "log");
        assert_eq!(spool.written().unwrap(), 0);
        assert!(spool.read(0, 1).is_err());
        let log: Vec<u8> = (0..1_u32 << 20).flat_map(u32::to_le_bytes).collect();
        std::fs::write(dir.join("log"), &log).unwrap();
        let length = u64::try_from(log.len()).unwrap();
        assert_eq!(spool.written().unwrap(), length);
        let before = spool.file().unwrap().unwrap().metadata().unwrap().blocks();
        spool.free(3 << 20);
        spool.free((3 << 20) + 1);
        spool.free(5);
        let after = spool.file().unwrap().unwrap().metadata().unwrap().blocks();
        assert!(after <= before / 2 || !spool.can_free, "{before} {after}");
        assert_eq!(spool.written().unwrap(), length);
        let at = (3 << 20) + 1;
        let rest = spool.read(at, length - at).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(rest == log[usize::try_from(at).unwrap()..]);
        assert!(spool.read(at, length).is_err(), "beyond the end");
    }
}
