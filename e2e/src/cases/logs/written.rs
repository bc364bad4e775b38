//! What a container wrote, as its node keeps it: to compare with what was archived.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::testbed::fixture::{Fixture, LIMIT};
use crate::testbed::wait::{saw, wait_until};

/// How often the node's folder is looked at: the kubelet looks at the size of logs every few seconds, and compresses a
/// file when the next one after it is full.
const LOOK: Duration = Duration::from_millis(200);

/// The files of a container's log on its node, which stay readable when the kubelet renames, compresses or removes them:
/// links of our own.
#[derive(Debug)]
pub(super) struct Written {
    of: PathBuf,
    links: PathBuf,
    stop: Option<Sender<()>>,
    watcher: Option<JoinHandle<()>>,
}

impl Written {
    /// Holds the log of the container `peon` of a pod from now on, which must exist, on the first node.
    pub(super) fn hold(fixture: &Fixture, namespace: &str, pod: &str) -> Result<Self> {
        let own = fixture.target.own().context("no cluster of our own")?;
        Self::hold_on(fixture, &own.pod_logs(), namespace, pod)
    }

    /// As [`Self::hold`], on the node with these logs.
    pub(super) fn hold_on(fixture: &Fixture, pod_logs: &Path, namespace: &str, pod: &str) -> Result<Self> {
        let object = fixture
            .kubectl
            .get_json(&["pod", pod, "--namespace", namespace])?;
        let uid = object["metadata"]["uid"].as_str().context("no uid")?;
        let own = fixture.target.own().context("no cluster of our own")?;
        let of = pod_logs.join(format!("{namespace}_{pod}_{uid}")).join("peon");
        // The kubelet removes what it does not know from its own folder.
        let links = own.scratch("held-logs")?.join(uid);
        fs::create_dir_all(&links)?;
        wait_until(LIMIT, "the container's log on its node", || {
            Ok((link_all(&of, &links)? > 0).then_some(()))
        })?;
        let (stop, stopped) = channel();
        let folders = (of.clone(), links.clone());
        let watcher = thread::spawn(move || watch(&folders.0, &folders.1, &stopped));
        Ok(Self {
            of,
            links,
            stop: Some(stop),
            watcher: Some(watcher),
        })
    }

    /// Files that the container's log has had so far: one more with each rotation.
    pub(super) fn files(&self) -> Result<usize> {
        link_all(&self.of, &self.links)?;
        let files = fs::read_dir(&self.links)?.count();
        saw(format_args!("{files} files of the log"));
        Ok(files)
    }

    /// What the container wrote so far: each line of a file has its time, stream, and whether it is a whole one.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        link_all(&self.of, &self.links)?;
        let mut files = Vec::new();
        for link in fs::read_dir(&self.links)? {
            let path = link?.path();
            files.push(fs::read(&path).with_context(|| path.display().to_string())?);
        }
        // Each begins with a time.
        files.sort();
        let mut bytes = Vec::new();
        for line in files
            .iter()
            .flat_map(|file| file.split_inclusive(|b| *b == b'\n'))
        {
            let mut fields = line.splitn(4, |b| *b == b' ');
            let (_, _, tag, text) = (fields.next(), fields.next(), fields.next(), fields.next());
            let text = text.context("a line without text")?;
            match tag {
                Some(b"P") => bytes.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text)),
                _ => bytes.extend_from_slice(text),
            }
        }
        saw(format_args!("{} bytes of the log", bytes.len()));
        Ok(bytes)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
        let _ = fs::remove_dir_all(&self.links);
    }
}

fn watch(of: &Path, links: &Path, stop: &Receiver<()>) {
    while stop.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        // What cannot be linked now is tried again, and is missed by whoever compares.
        let _ = link_all(of, links);
    }
}

/// Links what is new, under the number by which the file system knows it; says how many files there are in all.
fn link_all(of: &Path, links: &Path) -> Result<usize> {
    let Ok(files) = fs::read_dir(of) else {
        return Ok(fs::read_dir(links)?.count());
    };
    for file in files {
        let Ok(file) = file else { continue };
        let path = file.path();
        // What the kubelet compresses was linked before.
        let is_plain = path.extension().is_none_or(|e| e != "gz" && e != "tmp");
        if let Ok(meta) = fs::metadata(&path)
            && is_plain
        {
            // It may be renamed in this moment: it is found the next time.
            let _ = fs::hard_link(&path, links.join(meta.ino().to_string()));
        }
    }
    Ok(fs::read_dir(links)?.count())
}

/// What stands before the report, which is no part of the log.
pub(super) fn without_report(written: &[u8]) -> &[u8] {
    let mark = b"-----BEGIN PEON REPORT ";
    let at = memchr::memmem::find(written, mark);
    &written[..at.unwrap_or(written.len())]
}

/// The archive has what was written, and nothing else.
pub(super) fn is_same(archived: &[u8], written: &[u8]) -> Result<()> {
    let at = archived.iter().zip(written).position(|(a, w)| a != w);
    ensure!(
        archived == written,
        "{} bytes were archived and {} written; they differ from {at:?} on: {} … {}",
        archived.len(),
        written.len(),
        String::from_utf8_lossy(&archived[archived.len().saturating_sub(300)..]),
        String::from_utf8_lossy(&written[written.len().saturating_sub(300)..]),
    );
    Ok(())
}

/// What begins a line in which the archive says that something is missing.
pub(super) const DECLARED: &[u8] = b"[peon-operator] ";

/// The archive has what was written, in order, and nothing else; where something is missing it says so. Returns how often
/// it says so, and how many bytes of what was written it has.
pub(super) fn differs_by_what_is_declared(archived: &[u8], written: &[u8]) -> Result<(usize, usize)> {
    let (mut at, mut gaps, mut kept) = (0, 0, 0);
    let mut piece_begins = 0;
    let mut line_begins = 0;
    for line in archived.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(DECLARED) {
            let piece = &archived[piece_begins..line_begins];
            let found = find(piece, written, at, gaps == 0)?;
            at = found.end;
            // Neither an end of line that the gap added, nor what lies between two lines that became one.
            kept += piece.len().min(found.len());
            gaps += 1;
            piece_begins = line_begins + line.len();
        }
        line_begins += line.len();
    }
    let piece = &archived[piece_begins..];
    let found = find(piece, written, at, gaps == 0)?;
    kept += piece.len().min(found.len());
    ensure!(
        gaps > 0 || found.end == written.len(),
        "{} bytes are missing at the end, and the log does not say so",
        written.len() - found.end
    );
    Ok((gaps, kept))
}

/// Where a piece is in what was written; the first one stands at its beginning. The line before a declared gap may have
/// got the end of line that it lost, or a line from behind the gap: see the operator's `GAP`.
fn find(piece: &[u8], written: &[u8], from: usize, first: bool) -> Result<Range<usize>> {
    let place = |piece: &[u8]| {
        let found = memchr::memmem::find(&written[from..], piece);
        found.filter(|at| !first || *at == 0).map(|at| from + at)
    };
    let cut = piece.strip_suffix(b"\n").unwrap_or(piece);
    for piece in [piece, cut] {
        if let Some(begin) = place(piece) {
            return Ok(begin..begin + piece.len());
        }
    }
    let last_line = cut.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let begin = place(&piece[..last_line]);
    let agree = |at: usize| {
        piece
            .iter()
            .zip(&written[at..])
            .take_while(|(a, b)| a == b)
            .count()
    };
    let common = agree(begin.unwrap_or(from));
    if let Some(begin) = begin.filter(|_| common > last_line) {
        // A line begins behind the end of another one.
        let other = [b"\n", &piece[common..]].concat();
        if let Some(at) = memchr::memmem::find(&written[begin + common..], &other) {
            return Ok(begin..begin + common + at + other.len());
        }
    }
    anyhow::bail!(
        "a piece of {} bytes was not written like this after {from}; {common} bytes agree there: {} … and then {} …",
        piece.len(),
        String::from_utf8_lossy(&piece[..piece.len().min(300)]),
        String::from_utf8_lossy(&piece[common..piece.len().min(common + 300)]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_declared_may_be_missing() {
        let written = b"one\ntwo\nthree\nfour\n";
        let of = |archived: &str| differs_by_what_is_declared(archived.as_bytes(), written);
        assert_eq!(of("one\ntwo\nthree\nfour\n").unwrap(), (0, 19));
        assert_eq!(of("one\n[peon-operator] gone\nthree\nfour\n").unwrap(), (1, 15));
        assert_eq!(of("one\nt\n[peon-operator] gone\n").unwrap(), (1, 5));
        assert_eq!(of("one\ntwthree\n[peon-operator] gone\nfour\n").unwrap(), (1, 17));
        for wrong in [
            "one\ntwo\nthree\n",
            "two\nthree\nfour\n",
            "one\nthree\nfour\n",
            "one\ntwthree\nfour\n",
            "one\ntwour\n[peon-operator] gone\n",
            "onetwo\n[peon-operator] gone\ntwo\n",
            "one\n[peon-operator] gone\nfour\nthree\n",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
