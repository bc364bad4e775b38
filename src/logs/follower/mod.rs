//! The operator's followers: who reads which log, and how it stands.

pub mod chain;
pub mod collect;
pub mod cut;
mod insist;
pub mod mark;
pub mod reader;
pub mod source;
pub mod spool;
mod taken;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kube::Client;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::collect::{Collected, Collector, Goal, Limits};
use self::insist::insist;
use self::source::Source;
use self::spool::Report;
use crate::logs::archive::{Archive, ArchiveError};
use crate::logs::chain::Chain;
use crate::logs::journal::Journal;
use crate::logs::parts::{Composed, PartName, Piece};
use crate::logs::record::{Entry, Recorded};
use crate::logs::shares::{Share, Shares};
use crate::logs::state::{KeepLog, Kept, LogState};
use crate::logs::task_archive::TaskArchive;

/// How long an attempt whose log was read may take to be followed by another one or to be the last.
const UNDECIDED: Duration = Duration::from_secs(2);
/// After a spool failed.
const SPOOL_RETRY: Duration = Duration::from_secs(10);

/// For how long the store is asked to take the log of a PeonTask that is gone: nobody else would end that.
const GONE: Duration = Duration::from_secs(60 * 60);

/// How many tasks that had ended before are looked for in the store at the same time, after a start.
const LOOKS: u64 = 32;

/// What the log says at its end where the sidecar did not say that it was all.
const UNSAID: &str =
    "\n[peon-operator] the end of the log may be missing: the sidecar ended before it had archived it\n";

/// Called with namespace and name of a task whose log stands differently.
pub type Wake = Box<dyn Fn(&str, &str) + Send + Sync>;

/// Whose log it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Namespace of the PeonTask.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Id of the Druid task.
    pub task_id: String,
}

/// Everybody who reads logs in this process.
#[derive(Clone)]
pub struct Followers(Arc<Shared>);

struct Shared {
    client: Client,
    archive: Archive,
    journal: Journal,
    limits: Limits,
    places: Shares,
    /// Of those who ask the store whether a log was archived before this process began.
    looks: Shares,
    jobs: Mutex<HashMap<String, Job>>,
    wake: Wake,
}

struct Job {
    goal: watch::Sender<Goal>,
    state: Arc<Mutex<LogState>>,
}

impl std::fmt::Debug for Followers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} followers", self.0.jobs.lock().len())
    }
}

impl Followers {
    /// Followers that read through this client, as many at a time as there are places, and write to this archive.
    #[must_use]
    pub fn new(client: Client, archive: Archive, limits: Limits, places: Shares, wake: Wake) -> Self {
        Self(Arc::new(Shared {
            client,
            journal: Journal::new(archive.clone()),
            archive,
            limits,
            places,
            looks: Shares::fair(LOOKS),
            jobs: Mutex::default(),
            wake,
        }))
    }

    /// Asks for the log of an attempt, or says more of one that was asked for. Says how it stands with the task's log.
    #[must_use]
    pub fn keep(&self, owner: &Owner, ask: &KeepLog) -> Kept {
        let last = ask.last;
        let mut jobs = self.0.jobs.lock();
        let job = jobs
            .entry(owner.uid.clone())
            .or_insert_with(|| begin(&self.0, owner.clone()));
        job.goal.send_if_modified(|goal| {
            let before = goal.clone();
            goal.last |= last;
            let known = goal.attempts.entry(ask.attempt).or_insert_with(|| ask.clone());
            known.ended |= ask.ended;
            known.complete |= ask.complete;
            *goal != before
        });
        let state = job.state.lock().clone();
        Kept { last, state }
    }

    /// Puts a finished task into the history; fast, whatever the store does.
    pub async fn record(&self, entry: Entry) -> Recorded {
        let recorded = self.0.journal.put(entry).await;
        if recorded.outcome.is_err() {
            self.0.limits.metrics.failure();
        }
        recorded
    }

    /// Whether the log of this PeonTask is still being read or written.
    #[must_use]
    pub fn is_busy(&self, uid: &str) -> bool {
        let jobs = self.0.jobs.lock();
        jobs.get(uid)
            .is_some_and(|job| !matches!(*job.state.lock(), LogState::Archived { .. } | LogState::Nothing))
    }

    /// The PeonTask is gone: what there is of its log is archived.
    pub fn gone(&self, uid: &str) {
        if let Some(job) = self.0.jobs.lock().remove(uid) {
            job.goal.send_modify(|goal| goal.abandoned = true);
        }
    }

    /// Only these PeonTasks are left.
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
            self.gone(&uid);
        }
    }
}

fn begin(shared: &Arc<Shared>, owner: Owner) -> Job {
    let (sender, goal) = watch::channel(Goal::default());
    let state = Arc::new(Mutex::new(LogState::Queued));
    match shared.archive.of_task(&owner.task_id, &owner.uid) {
        Ok(archive) => {
            let follower = Follower {
                shared: shared.clone(),
                state: state.clone(),
                owner,
                archive,
                goal,
            };
            tokio::spawn(follower.run());
        }
        Err(error) => {
            *state.lock() = LogState::Failing {
                message: error.to_string(),
            };
        }
    }
    Job { goal: sender, state }
}

/// One task's.
struct Follower {
    shared: Arc<Shared>,
    state: Arc<Mutex<LogState>>,
    owner: Owner,
    archive: TaskArchive,
    goal: watch::Receiver<Goal>,
}

impl Follower {
    #[tracing::instrument(skip_all, fields(namespace = self.owner.namespace, task = self.owner.name))]
    async fn run(mut self) {
        let mut read: Vec<(u32, Collected)> = Vec::new();
        if self.goal.wait_for(|g| !g.attempts.is_empty()).await.is_err() {
            return;
        }
        // A process before this one may have archived it, and not have lived to say so.
        if self.goal.borrow().last && self.is_archived().await {
            let url = self.archive.log_url();
            return self.say(LogState::Archived { url, gaps: 0 });
        }
        // Kept until the last log is archived: what is left of it is in memory.
        let mut place = None;
        loop {
            let next = loop {
                let goal = self.goal.borrow_and_update().clone();
                let unread = |n: &u32| read.iter().all(|(done, _)| done != n);
                let next = goal.attempts.into_iter().find(|(n, _)| unread(n));
                if next.is_some() || goal.last || goal.abandoned {
                    break next;
                }
                // The first ask is on its way.
                if self.goal.changed().await.is_err() {
                    return;
                }
            };
            let Some((number, ask)) = next else { break };
            let collected = if ask.sidecar {
                self.say(LogState::Collecting);
                let Some(collected) = self.await_sidecar(number).await else {
                    return;
                };
                collected
            } else {
                drop(place.take());
                place = Some(self.place().await);
                let following = self.shared.limits.metrics.follower();
                let mut collected = self.collect(number, ask).await;
                drop(following);
                self.shared.limits.metrics.gaps(collected.gaps);
                if !self.is_last(number).await {
                    self.make_part(number, &mut collected).await;
                    place = None;
                }
                collected
            };
            // The report is the last attempt's.
            for (_, before) in &mut read {
                before.report = None;
            }
            read.push((number, collected));
            let done = |g: &Goal| g.last || g.abandoned || g.attempts.len() > read.len();
            if self.goal.wait_for(done).await.is_err() {
                return;
            }
        }
        self.archive(read).await;
        drop(place);
    }

    /// A place to read from, as soon as its namespace may have one.
    async fn place(&self) -> Share {
        let place = self.shared.places.acquire(&self.owner.namespace, 1).await;
        self.say(LogState::Collecting);
        place
    }

    async fn is_archived(&self) -> bool {
        let composed = self.insist(|| self.look()).await;
        matches!(composed, Ok(Composed::Before(_)))
    }

    async fn look(&self) -> Result<Composed, ArchiveError> {
        let _place = self.shared.looks.acquire(&self.owner.namespace, 1).await;
        self.archive.compose(&[]).await
    }

    async fn collect(&self, attempt: u32, ask: KeepLog) -> Collected {
        let tell = |said| self.tell(said);
        loop {
            let collector = Collector {
                source: Source {
                    client: self.shared.client.clone(),
                    namespace: self.owner.namespace.clone(),
                    pod: ask.pod.clone(),
                    container: ask.container.clone(),
                },
                archive: &self.archive,
                attempt,
                limits: &self.shared.limits,
                goal: self.goal.clone(),
                tell: &tell,
            };
            match collector.run().await {
                Ok(collected) => return collected,
                Err(error) => {
                    let folder = self.shared.limits.disk.folder.display();
                    tracing::warn!(%error, "a spool in {folder} failed");
                    self.tell(Err(format!(
                        "the operator cannot write to its spool {folder}: {error}"
                    )));
                    tokio::time::sleep(SPOOL_RETRY).await;
                }
            }
        }
    }

    /// What a sidecar read is in the store when its pod has ended.
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

    /// Whether no attempt follows this one: that is decided in a moment.
    async fn is_last(&mut self, attempt: u32) -> bool {
        let decided = |g: &Goal| g.last || g.abandoned || g.attempts.keys().any(|n| *n > attempt);
        // Undecided after that time, it waits in the store.
        let _ = tokio::time::timeout(UNDECIDED, self.goal.wait_for(decided)).await;
        let goal = self.goal.borrow();
        (goal.last || goal.abandoned) && !goal.attempts.keys().any(|n| *n > attempt)
    }

    /// What is left of an attempt becomes its last part.
    async fn make_part(&self, attempt: u32, collected: &mut Collected) {
        let (Some(mark), false) = (&collected.mark, collected.rest.is_empty()) else {
            return;
        };
        let cursor = chain::cursor(collected.parts.last(), collected.gaps, mark);
        let sequence = u32::try_from(collected.parts.len()).unwrap_or(u32::MAX);
        let Ok(name) = PartName::new(attempt, sequence, &cursor) else {
            return;
        };
        let bytes = Bytes::from(std::mem::take(&mut collected.rest));
        let put = self.insist(|| self.archive.put_part(&name, bytes.clone())).await;
        match put {
            Ok(()) => collected.parts.push(name),
            Err(_) => collected.rest = bytes.into(),
        }
    }

    async fn archive(&self, mut read: Vec<(u32, Collected)>) {
        if let Some(report) = read.last_mut().and_then(|(_, c)| c.report.take()) {
            // It is said where it fails, and the log is not held up by a report that no repetition helps.
            let _ = self.insist(|| self.put_report(&report)).await;
        }
        let mut tries = 0;
        let state = loop {
            let composed = self.insist(|| self.compose(&read)).await;
            let gaps = read.iter().map(|(_, c)| c.gaps).sum();
            let url = self.archive.log_url();
            match composed {
                Ok(Composed::Written(_) | Composed::Before(_)) => break LogState::Archived { url, gaps },
                Ok(Composed::Nothing) => break LogState::Nothing,
                // Somebody else composes: what they left is looked at.
                Err(ArchiveError::PartGone(_)) if tries < 5 => tries += 1,
                Err(error) => {
                    break LogState::Failing {
                        message: error.to_string(),
                    };
                }
            }
        };
        self.say(state);
    }

    /// Puts a report into the store, with at most as many in memory as there are uploads.
    async fn put_report(&self, report: &Report) -> Result<(), ArchiveError> {
        let _place = self.upload().await;
        match report.read().await {
            Ok(bytes) if bytes.is_empty() => Ok(()),
            Ok(bytes) => self.archive.put_report(bytes).await,
            Err(error) => {
                tracing::warn!(%error, "the spool failed, and a report is lost");
                Ok(())
            }
        }
    }

    async fn upload(&self) -> Share {
        self.shared.limits.uploads.acquire(&self.owner.namespace, 1).await
    }

    async fn compose(&self, read: &[(u32, Collected)]) -> Result<Composed, ArchiveError> {
        let parts = self.archive.parts().await?;
        let known = |n: u32| read.iter().find(|(number, _)| *number == n).map(|(_, c)| c);
        let mut attempts: BTreeSet<u32> = parts.iter().map(|p| p.name.attempt()).collect();
        attempts.extend(read.iter().map(|(n, _)| n));
        let mut pieces = Vec::new();
        for attempt in attempts {
            let rest = known(attempt).map_or(&[][..], |c| c.rest.as_slice());
            let mut names = known(attempt).map(|c| c.parts.clone()).unwrap_or_default();
            if names.is_empty() {
                // A process before this one read it, or a sidecar.
                let chain = chain::chain(&parts, attempt);
                names = chain.into_iter().map(|p| p.name).collect();
            }
            if names.is_empty() {
                names = Chain::of(&parts, attempt).parts;
            }
            if names.is_empty() && rest.is_empty() {
                continue;
            }
            if attempt > 1 {
                let text = format!("\n[peon-operator] attempt {attempt} of the task begins here\n");
                pieces.push(Piece::Text(text.into()));
            }
            pieces.extend(names.into_iter().map(Piece::Part));
            if !rest.is_empty() {
                pieces.push(Piece::Text(Bytes::copy_from_slice(rest)));
            }
        }
        // It has some MiB of the log in memory, and all tasks of a namespace may end at once.
        let _place = self.upload().await;
        self.archive.compose(&pieces).await
    }

    async fn insist<T, F>(&self, action: impl Fn() -> F) -> Result<T, ArchiveError>
    where
        F: Future<Output = Result<T, ArchiveError>>,
    {
        let since = Instant::now();
        let abandoned = || self.goal.borrow().abandoned && since.elapsed() > GONE;
        insist(&|said| self.tell(said), abandoned, action).await
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
