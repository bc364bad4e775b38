//! The operator's followers: which follower reads which log, and its state.

pub mod decide;

mod buffer;
pub mod collect;
mod finish;
mod job;
mod last_word;
pub mod pod_streams;
pub mod source;
pub mod spool;
mod store_retry;
mod upload;
mod writers;

use super::format::attempt_parts::{self, End};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::collect::{Collected, Collector, Goal, Limits};
use self::job::{HeardOf, Job, begin};
use self::last_word::Farewell;
use self::pod_streams::PodStreams;
use self::source::Source;
use self::store_retry::retry;
use self::writers::{Writer, Writers};
use super::fair_share::{Share, Shares};
use super::format::parts::PartName;
use super::format::record::{Entry, Record, Recorded};
use super::format::state::{KeepLog, Kept, LogState};
use super::history::writer::HistoryWriter;
use super::store::archive::{Archive, ArchiveError};
use super::store::ownership;
use super::store::task_archive::TaskArchive;

/// How long it may take, after an attempt's log was read, until another attempt follows or the attempt is the last.
const UNDECIDED: Duration = Duration::from_secs(2);
/// Delay after a spool failed.
const SPOOL_RETRY: Duration = Duration::from_secs(10);
/// How many tasks that ended earlier are looked up in the store at the same time after a start.
const LOOKS: u64 = 32;
/// Text at the end of a log whose sidecar did not report it complete.
const UNSAID: &str =
    "\n[peon-operator] the end of the log may be missing: the sidecar ended before it had archived it\n";
/// Text in the log if the operator's disk failed until the task was deleted.
const UNREAD: &str = "\n[peon-operator] the end of the log is missing: the operator could not write it to \
    its spool\n";

/// Called with namespace and name of a task whose log's state changed.
pub type Wake = Box<dyn Fn(&str, &str) + Send + Sync>;

/// The owner of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Namespace of the PeonTask.
    pub namespace: String,
    /// Name of the PeonTask.
    pub name: String,
    /// Uid of the PeonTask.
    pub uid: String,
    /// Id of the Druid task.
    pub task_id: String,
    /// When the PeonTask was created.
    pub created: Option<Timestamp>,
}

/// All followers of this process.
#[derive(Clone)]
pub struct Followers(Arc<Shared>);

struct Shared {
    client: Client,
    archive: Archive,
    journal: HistoryWriter,
    limits: Limits,
    places: Shares,
    /// Places for lookups of logs that were archived before this process started.
    looks: Shares,
    jobs: Mutex<HashMap<String, Job>>,
    writers: Writers,
    /// The streams of shared Indexers.
    streams: PodStreams,
    wake: Wake,
}

impl std::fmt::Debug for Followers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} followers", self.0.jobs.lock().len())
    }
}

impl Followers {
    /// Followers that read through `client`, as many at a time as there are `places`, and write to `archive`.
    #[must_use]
    pub fn new(client: Client, archive: Archive, limits: Limits, places: Shares, wake: Wake) -> Self {
        Self(Arc::new(Shared {
            client,
            journal: HistoryWriter::new(archive.clone()),
            archive,
            streams: PodStreams::new(limits.metrics.clone()),
            limits,
            places,
            looks: Shares::fair(LOOKS),
            jobs: Mutex::default(),
            writers: Writers::default(),
            wake,
        }))
    }

    /// The streams of shared Indexers.
    #[must_use]
    pub fn streams(&self) -> PodStreams {
        self.0.streams.clone()
    }

    /// Requests the log of an attempt, or updates an earlier request. Returns the state of the task's log.
    #[must_use]
    pub fn keep(&self, owner: &Owner, ask: &KeepLog) -> Kept {
        let last = ask.last;
        let mut jobs = self.0.jobs.lock();
        let job = jobs
            .entry(owner.uid.clone())
            .or_insert_with(|| begin(&self.0, owner.clone()));
        if job.is_over() && !job.is_settled() {
            // The follower ended before the log was there: start another one.
            *job = begin(&self.0, owner.clone());
        }
        job.goal.send_if_modified(|goal| {
            let before = goal.clone();
            goal.last |= last;
            if ask.seen && !goal.attempts.contains_key(&ask.attempt) {
                goal.seen.insert(ask.attempt, Instant::now());
            }
            let known = goal.attempts.entry(ask.attempt).or_insert_with(|| ask.clone());
            known.ended |= ask.ended;
            known.complete |= ask.complete;
            *goal != before
        });
        let state = job.state.lock().clone();
        let heard = job.heard.lock().get(&ask.attempt).copied().unwrap_or_default();
        Kept { last, state, heard }
    }

    /// Writes a finished task to the history; returns quickly, whatever the store does.
    pub async fn record(&self, entry: Entry) -> Recorded {
        if let Some(job) = self.0.jobs.lock().get(&entry.record.uid) {
            job.farewell.lock().recorded = Some(entry.clone());
        }
        let recorded = self.0.journal.put(entry).await;
        if recorded.outcome.is_err() {
            self.0.limits.metrics.failure();
        }
        recorded
    }

    /// The success of an earlier task; see [`HistoryWriter::success`].
    ///
    /// # Errors
    /// What the store said.
    pub async fn success(&self, namespace: &str, success: &str) -> Result<Option<Record>, String> {
        self.0.journal.success(namespace, success).await
    }

    /// Whether the log of this PeonTask is still being read or written.
    #[must_use]
    pub fn is_busy(&self, uid: &str) -> bool {
        let jobs = self.0.jobs.lock();
        jobs.get(uid)
            .is_some_and(|job| !job.is_over() && !job.is_settled())
    }

    /// The PeonTask is gone: what exists of its log is archived, and the history gets what is known of the task, so
    /// that the log can be found.
    pub fn gone(&self, uid: &str, word: LastWord) {
        let Some(job) = self.0.jobs.lock().remove(uid) else {
            return;
        };
        let is_over = {
            let mut farewell = job.farewell.lock();
            farewell.word = Some(word.clone());
            farewell.over
        };
        job.goal.send_modify(|goal| goal.abandoned = true);
        if is_over && let Some(entry) = word.entry(&job.owner) {
            let (shared, state) = (self.0.clone(), job.state.lock().clone());
            tokio::spawn(async move { finish::record_gone(&shared, entry, &state).await });
        }
    }

    /// A pass ended whose PeonTask is gone: the log gets no further updates. The history entry is passed to
    /// [`gone`](Self::gone), before or after this call.
    pub fn abandon(&self, uid: &str) {
        if let Some(job) = self.0.jobs.lock().get(uid) {
            job.goal.send_modify(|goal| goal.abandoned = true);
        }
    }

    /// Only these PeonTasks still exist.
    pub fn keep_only(&self, uids: &HashSet<String>) {
        let gone: Vec<String> = self
            .0
            .jobs
            .lock()
            .keys()
            .filter(|u| !uids.contains(*u))
            .cloned()
            .collect();
        for uid in gone {
            self.gone(&uid, LastWord::None);
        }
    }
}

/// The follower of one task.
struct Follower {
    shared: Arc<Shared>,
    state: Arc<Mutex<LogState>>,
    farewell: Arc<Mutex<Farewell>>,
    heard: HeardOf,
    owner: Owner,
    archive: TaskArchive,
    goal: watch::Receiver<Goal>,
    /// Held until the log is written: the keys of its id are not taken over before.
    writer: Option<Writer>,
}

impl Follower {
    #[tracing::instrument(skip_all, fields(namespace = self.owner.namespace, task = self.owner.name))]
    async fn run(mut self) {
        let mut read: Vec<(u32, Collected)> = Vec::new();
        if self.goal.wait_for(|g| !g.attempts.is_empty()).await.is_err() {
            return;
        }
        // An earlier process may have archived the log and died before it reported so.
        if self.goal.borrow().last && self.is_archived().await {
            let state = match self.retry(|| self.place()).await {
                Ok(place) => self.archived(0, &place),
                Err(error) => LogState::Failing {
                    message: error.to_string(),
                },
            };
            return self.end(state).await;
        }
        let claiming = self.claim();
        // Held until the last log is archived: its rest is in memory.
        let mut reading = None;
        loop {
            let next = loop {
                let goal = self.goal.borrow_and_update().clone();
                let unread = |n: &u32| read.iter().all(|(done, _)| done != n);
                let next = goal.attempts.into_iter().find(|(n, _)| unread(n));
                if next.is_some() || goal.last || goal.abandoned {
                    break next;
                }
                // The first request is on its way.
                if self.goal.changed().await.is_err() {
                    return;
                }
            };
            let Some((number, ask)) = next else { break };
            // The report is the last attempt's; those of earlier attempts hold room that this one may wait for.
            for (_, before) in &mut read {
                before.report = None;
            }
            let collected = if ask.sidecar {
                self.say(LogState::Collecting);
                let Some(collected) = self.await_sidecar(number).await else {
                    return;
                };
                self.heard_all(number, &collected);
                collected
            } else {
                drop(reading.take());
                reading = Some(self.reading_place().await);
                let following = self.shared.limits.metrics.follower();
                let mut collected = self.collect(number, ask).await;
                drop(following);
                self.heard_all(number, &collected);
                self.shared.limits.metrics.gaps(collected.gaps);
                if !self.is_last(number).await {
                    self.make_part(number, &mut collected).await;
                    reading = None;
                }
                collected
            };
            read.push((number, collected));
            let done = |g: &Goal| g.last || g.abandoned || g.attempts.len() > read.len();
            if self.goal.wait_for(done).await.is_err() {
                return;
            }
        }
        // Its changes must not continue once the log is there.
        let _ = claiming.await;
        let state = self.archive(read).await;
        drop(reading);
        self.end(state).await;
    }

    async fn end(mut self, state: LogState) {
        self.writer = None;
        self.say(state.clone());
        let entry = {
            let mut farewell = self.farewell.lock();
            farewell.over = true;
            farewell.entry(&self.owner)
        };
        if let Some(entry) = entry {
            finish::record_gone(&self.shared, entry, &state).await;
        }
    }

    /// Claims the keys of the id, if no task has them, while the log is being read: of several tasks with one id the
    /// first one gets them. If the store fails, the claim is tried again at the end.
    fn claim(&self) -> JoinHandle<()> {
        let archive = self.archive.clone();
        tokio::spawn(async move {
            if let Err(error) = archive.place(&ownership::never).await {
                tracing::debug!(%error, "the task id is not claimed in the store yet; it is tried again \
                    when the log ends");
            }
        })
    }

    /// A reading place, as soon as the namespace may have one.
    async fn reading_place(&self) -> Share {
        let share = self.shared.places.acquire(&self.owner.namespace, 1).await;
        self.say(LogState::Collecting);
        share
    }

    async fn upload(&self) -> Share {
        self.shared.limits.uploads.acquire(&self.owner.namespace, 1).await
    }

    async fn is_archived(&self) -> bool {
        let composed = self.retry(|| self.look()).await;
        matches!(composed, Ok(true))
    }

    async fn look(&self) -> Result<bool, ArchiveError> {
        let _share = self.shared.looks.acquire(&self.owner.namespace, 1).await;
        self.archive.is_composed().await
    }

    async fn collect(&self, attempt: u32, ask: KeepLog) -> Collected {
        let tell = |said| self.tell(said);
        let published = || self.heard.lock().entry(attempt).or_default().published = true;
        loop {
            let collector = Collector {
                source: Source {
                    client: self.shared.client.clone(),
                    namespace: self.owner.namespace.clone(),
                    pod: ask.pod.clone(),
                    pod_uid: ask.pod_uid.clone(),
                    owner_uid: self.owner.uid.clone(),
                    container: ask.container.clone(),
                    started: ask.started,
                    lines: ask.lines.clone(),
                },
                streams: &self.shared.streams,
                archive: &self.archive,
                attempt,
                limits: &self.shared.limits,
                goal: self.goal.clone(),
                tell: &tell,
                published: &published,
            };
            match collector.run().await {
                Ok(collected) => return collected,
                Err(error) => {
                    let folder = self.shared.limits.disk.folder.display();
                    tracing::warn!(%error, "the log cannot be spooled in {folder}");
                    self.tell(Err(format!(
                        "the operator cannot write to its spool {folder}: {error}"
                    )));
                    if self.goal.borrow().abandoned {
                        return Collected {
                            rest: UNREAD.as_bytes().to_vec(),
                            gaps: 1,
                            ..Collected::default()
                        };
                    }
                    tokio::time::sleep(SPOOL_RETRY).await;
                }
            }
        }
    }

    /// Waits for the sidecar: the log it read is in the store when its pod has ended.
    async fn await_sidecar(&mut self, attempt: u32) -> Option<Collected> {
        let ended = |g: &Goal| g.abandoned || g.ended(attempt);
        let goal = self.goal.wait_for(ended).await.ok()?;
        let complete = goal.attempts.get(&attempt).is_some_and(|a| a.complete);
        let mut collected = Collected::default();
        if !complete {
            collected.gaps = 1;
            collected.rest = UNSAID.as_bytes().to_vec();
        }
        Some(collected)
    }

    /// The log of an attempt was read to its end: whether another one follows may depend on what it says.
    fn heard_all(&self, attempt: u32, collected: &Collected) {
        {
            let mut heard = self.heard.lock();
            let known = heard.entry(attempt).or_default();
            known.whole = true;
            known.published |= collected.published;
            known.out_of_memory |= collected.out_of_memory;
        }
        if !self.goal.borrow().last {
            (self.shared.wake)(&self.owner.namespace, &self.owner.name);
        }
    }

    /// Whether no attempt follows this one. Waits a moment for that decision.
    async fn is_last(&mut self, attempt: u32) -> bool {
        let decided = |g: &Goal| g.last || g.abandoned || g.attempts.keys().any(|n| *n > attempt);
        // If undecided after that time, the log waits in the store.
        let _ = tokio::time::timeout(UNDECIDED, self.goal.wait_for(decided)).await;
        let goal = self.goal.borrow();
        (goal.last || goal.abandoned) && !goal.attempts.keys().any(|n| *n > attempt)
    }

    /// The rest of an attempt becomes its last part.
    async fn make_part(&self, attempt: u32, collected: &mut Collected) {
        let (Some(mark), false) = (&collected.mark, collected.rest.is_empty()) else {
            return;
        };
        let end = End {
            mark: mark.clone(),
            gaps: collected.gaps,
            published: collected.published,
        };
        let cursor = attempt_parts::cursor(collected.parts.last(), &end);
        let last = collected.parts.last();
        let sequence = last.map_or(0, |last| last.sequence().saturating_add(1));
        let Ok(name) = PartName::new(attempt, sequence, &cursor) else {
            return;
        };
        let bytes = Bytes::from(std::mem::take(&mut collected.rest));
        let put = self.retry(|| self.archive.put_part(&name, bytes.clone())).await;
        match put {
            Ok(()) => collected.parts.push(name),
            Err(_) => collected.rest = bytes.into(),
        }
    }

    async fn retry<T, F>(&self, action: impl Fn() -> F) -> Result<T, ArchiveError>
    where
        F: Future<Output = Result<T, ArchiveError>>,
    {
        retry(&|said| self.tell(said), action).await
    }

    fn tell(&self, said: Result<(), String>) {
        if said.is_err() {
            self.shared.limits.metrics.failure();
        }
        self.say(match said {
            Ok(()) => LogState::Collecting,
            Err(message) => LogState::Failing { message },
        });
    }

    fn say(&self, state: LogState) {
        let changed = {
            let mut known = self.state.lock();
            let changed = std::mem::discriminant(&*known) != std::mem::discriminant(&state);
            *known = state;
            changed
        };
        if changed {
            (self.shared.wake)(&self.owner.namespace, &self.owner.name);
        }
    }
}

#[cfg(test)]
mod tenants_tests;
#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
use super::format::record::LastWord;
