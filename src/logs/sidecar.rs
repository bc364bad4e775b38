//! `peon-operator log-sidecar`: keeps the log and the report of the peon beside it.
//!
//! It reads the file that the peon writes, archives what is new as parts, and frees it. The parts in the archive are its
//! only memory: after a restart it goes on where they end. The kubelet asks it to stop when the peon has ended; then it
//! archives the rest, makes the parts one log, and adds the report. A store that does not answer is asked again until
//! the kubelet loses patience; what is in it by then stays there. The verdict is written anew with every step, because
//! nobody knows which one is the last.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::pace::{self, Pace, Seen, Step};
use super::plain_file;
use super::report::MAX_REPORT;
use super::sidecar_config::{DIR, FILE, SOURCES_DIR, SidecarConfig};
use super::spool::Spool;
use super::verdict::LogVerdict;
use crate::task::launch::{LOG_FILE, PEAK_FILE, SHARED_DIR, SHOWN_FILE};

/// How often to look for new bytes.
const LOOK: Duration = Duration::from_secs(1);
/// Below the volume that the peon works in.
const REPORT: [&str; 4] = ["task", "attempt", "1", "report.json"];

/// Where the sidecar finds what it needs; the defaults are where the pod has it.
#[derive(Debug, Clone, Args)]
pub struct Files {
    /// What it is told.
    #[arg(long, value_name = "FILE", default_value_os_t = PathBuf::from(DIR).join(FILE))]
    pub config: PathBuf,
    /// Directory with a directory for each source of the store's properties.
    #[arg(long, value_name = "DIR", default_value = SOURCES_DIR)]
    pub sources: PathBuf,
    /// Directory that the peon writes its log into.
    #[arg(long, value_name = "DIR", default_value = SHARED_DIR)]
    pub shared: PathBuf,
    /// Directory that the peon works in.
    #[arg(long, value_name = "DIR", default_value = "/peon")]
    pub scratch: PathBuf,
    /// Where the verdict is written.
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    pub verdict: PathBuf,
}

/// Where a log and its report are kept. What fails may be asked for again.
trait Shelf {
    /// Bytes of the log that are there as parts, without a gap from the first one on.
    async fn kept(&mut self) -> anyhow::Result<u64>;
    /// Adds a part behind the last one.
    async fn part(&mut self, at: u64, bytes: &[u8]) -> anyhow::Result<()>;
    /// Makes the parts one log, looks whether it is there, and says how long it is.
    async fn compose(&mut self) -> anyhow::Result<u64>;
    /// Keeps the report.
    async fn report(&mut self, report: &[u8]) -> anyhow::Result<()>;
}

/// Runs the sidecar until it is asked to stop and has done what it can.
///
/// # Errors
/// When it cannot listen for the request to stop.
pub async fn run(files: &Files) -> anyhow::Result<()> {
    // What else is logged by now was asked for twice.
    let _ = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .try_init();
    let mut stop = Stop::listen()?;
    let opened = open(files).await;
    let (config, shelf) = match opened {
        Ok(opened) => opened,
        // Ending now would be a restart, and a task is not to fail for its log.
        Err(error) => {
            let message = format!("the log is not archived: {error:#}");
            tracing::error!("{message}");
            let verdict = LogVerdict {
                message,
                ..LogVerdict::default()
            };
            say(&verdict, files);
            stop.asked().await;
            return Ok(());
        }
    };
    let pace = Pace {
        flush: Duration::from_secs(config.flush_seconds.into()),
        max_bytes: config.max_bytes,
    };
    let sidecar = Sidecar {
        files,
        pace,
        shelf,
        spool: Spool::new(&files.shared, LOG_FILE),
        stop,
        verdict: LogVerdict::default(),
        failures: 0,
    };
    sidecar.run().await;
    Ok(())
}

/// What the sidecar is told, and where its log goes.
async fn open(files: &Files) -> anyhow::Result<(SidecarConfig, DirShelf)> {
    let text = std::fs::read(&files.config).with_context(|| format!("{}", files.config.display()))?;
    let config: SidecarConfig =
        serde_json::from_slice(&text).with_context(|| format!("{}", files.config.display()))?;
    let sources = read_sources(&files.sources).context("the store's properties")?;
    let properties = config.properties(sources);
    let shelf = DirShelf::new(&properties, &config)?;
    Ok((config, shelf))
}

/// The properties in the files of each directory below this one; what is no text is no property.
fn read_sources(dir: &Path) -> io::Result<Vec<BTreeMap<String, String>>> {
    let mut sources = Vec::new();
    for source in entries(dir)? {
        let mut properties = BTreeMap::new();
        for file in entries(&source)? {
            let name = file.file_name().and_then(|name| name.to_str());
            // Kubernetes' own entries in a volume begin with two dots.
            let Some(name) = name.filter(|name| !name.starts_with("..")) else {
                continue;
            };
            let text = std::fs::read_to_string(&file)?;
            properties.insert(name.to_owned(), text);
        }
        sources.push(properties);
    }
    Ok(sources)
}

/// What is in a directory, in order; nothing where there is none.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let found = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    let mut entries = found
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

/// Stands in until the archive is there.
struct DirShelf {
    parts: PathBuf,
    log: PathBuf,
    report: PathBuf,
}

impl DirShelf {
    fn new(properties: &BTreeMap<String, String>, config: &SidecarConfig) -> anyhow::Result<Self> {
        let dir = properties
            .get("druid.indexer.logs.directory")
            .context("no directory")?;
        let dir = PathBuf::from(dir);
        let id = &config.task_id;
        Ok(Self {
            parts: dir.join(format!("{id}.parts")),
            log: dir.join(format!("{id}.log")),
            report: dir.join(format!("{id}.report.json")),
        })
    }
}

impl Shelf for DirShelf {
    async fn kept(&mut self) -> anyhow::Result<u64> {
        let mut kept = 0;
        for part in entries(&self.parts)? {
            kept += std::fs::metadata(part)?.len();
        }
        Ok(kept)
    }

    async fn part(&mut self, at: u64, bytes: &[u8]) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.parts)?;
        let tmp = self.parts.with_extension("tmp");
        std::fs::write(&tmp, bytes)?;
        Ok(std::fs::rename(tmp, self.parts.join(format!("{at:020}")))?)
    }

    async fn compose(&mut self) -> anyhow::Result<u64> {
        let mut log = std::fs::File::create(&self.log)?;
        let mut kept = 0;
        for part in entries(&self.parts)? {
            kept += io::copy(&mut std::fs::File::open(part)?, &mut log)?;
        }
        Ok(kept)
    }

    async fn report(&mut self, report: &[u8]) -> anyhow::Result<()> {
        Ok(std::fs::write(&self.report, report)?)
    }
}

/// The log of one attempt on its way.
struct Sidecar<'a, S> {
    files: &'a Files,
    pace: Pace,
    shelf: S,
    spool: Spool,
    stop: Stop,
    verdict: LogVerdict,
    /// Failures in a row.
    failures: u32,
}

impl<S: Shelf> Sidecar<'_, S> {
    async fn run(mut self) {
        self.verdict.log_bytes = loop {
            let kept = self.shelf.kept().await;
            if let Some(kept) = self.succeeded("what is archived already", kept).await {
                break kept;
            }
        };
        let mut last_part = Instant::now();
        loop {
            let written = self.spool.written().map_err(Into::into);
            let Some(written) = self.succeeded("reading the log", written).await else {
                continue;
            };
            let step = self.pace.step(Seen {
                archived: self.verdict.log_bytes,
                written,
                since_part: last_part.elapsed(),
                ended: self.stop.asked,
            });
            match step {
                Step::Wait => self.stop.wait(LOOK).await,
                Step::Part(length) => {
                    let bytes = self
                        .spool
                        .read(self.verdict.log_bytes, length)
                        .map_err(Into::into);
                    if let Some(bytes) = self.succeeded("reading the log", bytes).await
                        && self.add(&bytes).await
                    {
                        last_part = Instant::now();
                    }
                }
                Step::Dropped(bytes) => {
                    let notice = self.pace.notice(bytes);
                    if self.add(notice.as_bytes()).await {
                        self.verdict.message = notice.trim().to_owned();
                    }
                }
                Step::Done => break,
            }
            let shown = plain_file::number(&self.files.shared, SHOWN_FILE)
                .unwrap_or(0)
                .min(written);
            self.spool
                .free(self.pace.free_before(self.verdict.log_bytes, shown));
        }
        self.end().await;
    }

    /// Archives the next part.
    async fn add(&mut self, bytes: &[u8]) -> bool {
        let added = self.shelf.part(self.verdict.log_bytes, bytes).await;
        let added = self.succeeded("archiving the log", added).await.is_some();
        if added {
            self.verdict.log_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.say();
        }
        added
    }

    /// The whole log and the report.
    async fn end(&mut self) {
        while !self.verdict.archived {
            let composed = self.shelf.compose().await;
            if let Some(length) = self.succeeded("composing the log", composed).await {
                self.verdict.log_bytes = length;
                self.verdict.archived = true;
                self.say();
            }
        }
        match read_report(self.files) {
            Ok(None) => {}
            Ok(Some(report)) => {
                while !self.verdict.report {
                    let kept = self.shelf.report(&report).await;
                    self.verdict.report = self.succeeded("archiving the report", kept).await.is_some();
                }
            }
            Err(error) => self.verdict.message = format!("report.json is not archived: {error}"),
        }
        self.say();
    }

    /// What came of it; after a failure the store is left alone for a while.
    async fn succeeded<T>(&mut self, doing: &str, outcome: anyhow::Result<T>) -> Option<T> {
        match outcome {
            Ok(outcome) => {
                if self.failures > 0 {
                    self.verdict.message.clear();
                }
                self.failures = 0;
                Some(outcome)
            }
            Err(error) => {
                self.failures += 1;
                self.verdict.message = format!("{doing}: {error:#}");
                tracing::warn!(failures = self.failures, "{}", self.verdict.message);
                self.say();
                self.stop.wait(pace::delay(self.failures)).await;
                None
            }
        }
    }

    /// Writes the verdict as it stands.
    fn say(&mut self) {
        let peak = plain_file::number(&self.files.shared, PEAK_FILE);
        self.verdict.peak_memory_bytes = peak.or(self.verdict.peak_memory_bytes);
        say(&self.verdict, self.files);
    }
}

fn say(verdict: &LogVerdict, files: &Files) {
    if let Err(error) = std::fs::write(&files.verdict, verdict.line() + "\n") {
        tracing::warn!(%error, "the verdict cannot be written");
    }
}

/// The peon's report, where it wrote one.
fn read_report(files: &Files) -> io::Result<Option<Vec<u8>>> {
    let file = match plain_file::open(&files.scratch, &REPORT, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut report = Vec::new();
    let limit = u64::try_from(MAX_REPORT).map_err(io::Error::other)?;
    file.take(limit + 1).read_to_end(&mut report)?;
    if report.len() > MAX_REPORT {
        return Err(io::Error::other(format!("it has more than {MAX_REPORT} bytes")));
    }
    Ok((!report.is_empty()).then_some(report))
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

    /// Waits so long, or until it is asked for the first time.
    async fn wait(&mut self, time: Duration) {
        if self.asked {
            tokio::time::sleep(time).await;
            return;
        }
        tokio::select! {
            _ = self.signal.recv() => self.asked = true,
            () = tokio::time::sleep(time) => {}
        }
    }
}
