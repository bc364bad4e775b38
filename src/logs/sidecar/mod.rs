//! `peon-operator log-sidecar`: archives the log and the report of the peon beside it.
//!
//! It reads the file that the peon writes, archives new bytes as parts, and frees them. The parts in the archive are
//! its only state: after a restart it continues where they end. The kubelet asks it to stop when the peon has ended;
//! then it archives the rest, composes the parts into one log, and adds the report. A store that does not answer is
//! tried again until the kubelet kills the container; bytes stored until then remain. The result is rewritten with
//! every step, because any step may be the last one.

pub mod decide;
pub mod files;
pub mod log_file;
pub mod plain_file;

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::format::claim::Claimant;
use super::format::location::Location;
use super::format::parts::{Composed, Part};
use super::format::published::Search;
use super::format::rebuild::Rebuilt;
use super::format::sidecar_config::{LOG_FILE, SidecarConfig};
use super::format::sidecar_message::LogVerdict;
use super::format::sidecar_parts::Chain;
use super::store::archive::{Archive, ArchiveError};
use super::store::client::Identity;
use super::store::ownership;
use super::store::task_archive::TaskArchive;
use crate::druid::out_of_memory;
use crate::process::telemetry;
use decide::flush_policy::{self, FlushPolicy, Seen, Step};
pub use files::Files;
use log_file::Spool;

/// How often to check for new bytes.
const LOOK: Duration = Duration::from_secs(1);

/// Runs the sidecar until it is asked to stop and has archived what it can.
///
/// # Errors
/// When it cannot listen for the request to stop.
pub async fn run(files: &Files) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    // An error means that logging was started before.
    let _ = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_env_filter(telemetry::filter("info")?)
        .try_init();
    let mut verdict = LogVerdict::default();
    let mut failures = 0;
    loop {
        // When asked to stop, it tries once more.
        let last = stop.asked;
        match open(files) {
            Ok((config, archive)) => {
                let sidecar = Sidecar {
                    files,
                    pace: FlushPolicy {
                        flush: Duration::from_secs(config.flush_seconds.into()),
                        max_bytes: config.max_bytes,
                    },
                    config,
                    archive,
                    chain: Chain::default(),
                    published: Search::default(),
                    out_of_memory: Search::of(out_of_memory::is_logged),
                    spool: Spool::new(&files.shared, LOG_FILE),
                    stop,
                    verdict,
                    failures: 0,
                };
                sidecar.run().await;
                return Ok(());
            }
            // Exiting now would cause a restart, and a task must not fail because of its log. The Secret may still be
            // corrected.
            Err(error) => {
                failures += 1;
                verdict.message = format!("the log is not archived: {error:#}");
                tracing::warn!(failures, "{}", verdict.message);
                verdict.peak_memory_bytes = files.peak_memory();
                files.say(&verdict);
                if last {
                    return Ok(());
                }
                stop.wait(flush_policy::delay(failures)).await;
            }
        }
    }
}

/// The sidecar's configuration, and the archive of its log.
fn open(files: &Files) -> anyhow::Result<(SidecarConfig, TaskArchive)> {
    let (config, properties) = files.read()?;
    let location = Location::from_properties(&properties)?
        .context("the store's properties have no druid.indexer.logs.type")?;
    // The pod's owner may do whatever the pod may do.
    let archive = Archive::open(location, Identity::Ambient)?;
    let archive = if config.namespace.is_empty() {
        archive.of_task(&config.task_id, &config.task_uid)?
    } else {
        let claimant = Claimant {
            namespace: config.namespace.clone(),
            name: config.task_name.clone(),
            uid: config.task_uid.clone(),
            // The sidecar cannot tell whether an earlier task has ended.
            created: None,
        };
        archive.of_claimant(&config.task_id, claimant)?
    };
    Ok((config, archive))
}

/// The log of one attempt while it is being archived.
struct Sidecar<'a> {
    files: &'a Files,
    config: SidecarConfig,
    pace: FlushPolicy,
    archive: TaskArchive,
    /// The archived parts.
    chain: Chain,
    /// Whether they say that the task published segments.
    published: Search,
    /// Whether what was read of the log says that memory ran out.
    out_of_memory: Search,
    spool: Spool,
    stop: Stop,
    verdict: LogVerdict,
    /// Failures in a row.
    failures: u32,
}

impl Sidecar<'_> {
    async fn run(mut self) {
        self.chain = loop {
            let parts = self.archive.parts().await;
            if let Some(parts) = self.succeeded("listing the parts of the log", parts).await {
                break Chain::of(&parts, self.config.attempt);
            }
        };
        self.published = Search::continued(self.chain.published());
        self.verdict.published = self.published.found();
        let mut last_part = Instant::now();
        loop {
            let written = self.spool.written();
            let Some(written) = self.succeeded("reading the log", written).await else {
                continue;
            };
            let step = self.pace.step(Seen {
                archived: self.chain.end,
                written,
                since_part: last_part.elapsed(),
                ended: self.stop.asked,
            });
            let archived = match step {
                Step::Wait => {
                    self.stop.wait(LOOK).await;
                    false
                }
                Step::Part(length) => {
                    let bytes = self.spool.read(self.chain.end, length);
                    match self.succeeded("reading the log", bytes).await {
                        Some(bytes) => self.add(bytes, false).await,
                        None => false,
                    }
                }
                Step::Dropped(bytes) => {
                    let notice = self.pace.notice(bytes);
                    // The line before it may have been cut.
                    let line = format!("\n[peon-operator] {notice}\n");
                    let archived = self.add(line.into_bytes(), true).await;
                    self.verdict.notice = archived.then_some(notice);
                    archived
                }
                Step::Done => break,
            };
            if archived {
                last_part = Instant::now();
            }
            let shown = self.files.shown().min(written);
            self.spool.free(self.pace.free_before(self.chain.end, shown));
        }
        self.verdict.complete = true;
        self.say();
        self.keep_report().await;
        if self.config.compose {
            self.compose().await;
        }
    }

    /// Archives the next part: the peon's output, or one of our own lines.
    async fn add(&mut self, bytes: Vec<u8>, is_ours: bool) -> bool {
        let length = bytes.len() as u64;
        let name = if is_ours {
            self.chain.next_of_ours(self.config.attempt, length)
        } else {
            self.published.feed(&bytes);
            self.verdict.published = self.published.found();
            self.out_of_memory.feed(&bytes);
            self.verdict.out_of_memory = self.out_of_memory.found();
            self.chain
                .next(self.config.attempt, length, self.verdict.published)
        };
        let added = match name {
            Ok(name) => {
                let put = self.archive.put_part(&name, Bytes::from(bytes)).await;
                put.map(|()| name).map_err(anyhow::Error::from)
            }
            Err(error) => Err(error.into()),
        };
        let Some(name) = self.succeeded("archiving the log", added).await else {
            return false;
        };
        self.chain.push(name, length);
        self.say();
        true
    }

    async fn keep_report(&mut self) {
        let report = match self.files.report() {
            Ok(None) => return,
            Ok(Some(report)) => Bytes::from(report),
            Err(error) => {
                self.verdict.notice = Some(format!("report.json is not archived: {error}"));
                return self.say();
            }
        };
        while !self.verdict.report {
            let put = match self.archive.place(&ownership::never).await {
                Ok(place) => self.archive.put_report(report.clone(), &place).await,
                Err(error) => Err(error),
            };
            self.verdict.report = self.succeeded("archiving the report", put).await.is_some();
        }
        self.say();
    }

    /// Composes one log of the parts of earlier attempts and of this one.
    async fn compose(&mut self) {
        let mut first = true;
        loop {
            let parts = self.archive.parts().await;
            let composed = match parts {
                Ok(parts) => self.compose_of(&parts).await,
                Err(error) => Err(error),
            };
            match self.succeeded("composing the log", composed).await {
                Some(Composed::Before(_)) if first && self.chain.end > 0 => {
                    self.verdict.complete = false;
                    self.verdict.notice = Some(
                        "the log was composed before this attempt wrote, so it lacks this attempt".to_owned(),
                    );
                }
                Some(Composed::Written(bytes) | Composed::Before(bytes)) => {
                    self.verdict.archived = true;
                    self.verdict.log_bytes = bytes;
                }
                Some(Composed::Nothing) => self.verdict.notice = Some("nothing was written".to_owned()),
                None => {
                    // It may have succeeded all the same.
                    first = false;
                    continue;
                }
            }
            return self.tell();
        }
    }

    async fn compose_of(&self, parts: &[Part]) -> Result<Composed, ArchiveError> {
        let attempts = parts.iter().map(|part| part.name.attempt());
        let attempts: BTreeSet<_> = attempts.filter(|n| *n <= self.config.attempt).collect();
        let rebuilt = attempts.into_iter().map(|n| Rebuilt::of(parts, n, &[]));
        let pieces: Vec<_> = rebuilt.flat_map(|r| r.pieces).collect();
        let place = self.archive.place(&ownership::never).await?;
        self.archive.compose(&pieces, &place).await
    }

    /// Records the outcome; after a failure waits before the next request to the store.
    async fn succeeded<T, E: Into<anyhow::Error>>(
        &mut self,
        doing: &str,
        outcome: Result<T, E>,
    ) -> Option<T> {
        match outcome {
            Ok(outcome) => {
                self.failures = 0;
                self.verdict.message.clear();
                Some(outcome)
            }
            Err(error) => {
                self.failures += 1;
                self.verdict.message = format!("{doing}: {:#}", error.into());
                tracing::warn!(failures = self.failures, "{}", self.verdict.message);
                self.say();
                self.stop.wait(flush_policy::delay(self.failures)).await;
                None
            }
        }
    }

    /// Writes the current result, before there is a whole log.
    fn say(&mut self) {
        self.verdict.log_bytes = self.chain.end;
        self.tell();
    }

    fn tell(&mut self) {
        self.verdict.peak_memory_bytes = self.files.peak_memory().or(self.verdict.peak_memory_bytes);
        self.files.say(&self.verdict);
    }
}

/// The kubelet's request to stop.
struct Stop {
    signal: Signal,
    asked: bool,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        let signal = signal(SignalKind::terminate())?;
        Ok(Self { signal, asked: false })
    }

    async fn asked(&mut self) {
        self.signal.recv().await;
        self.asked = true;
    }

    /// Waits for `time`, or until the first request to stop.
    async fn wait(&mut self, time: Duration) {
        if self.asked {
            tokio::time::sleep(time).await;
            return;
        }
        // Once it was asked to stop, the wait ends with the time.
        let _ = tokio::time::timeout(time, self.asked()).await;
    }
}
