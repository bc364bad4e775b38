//! The node of one announcement: created, watched, created again when it is removed, and left alone while a younger process
//! has it.

use std::borrow::Cow;
use std::future::pending;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use zookeeper_client::{Client, CreateMode, Error, OneshotWatcher};

use super::ZooKeeper;
use crate::apiserver::backoff::Backoff;
use crate::druid::discovery::{Judgement, Keeper};
use crate::middle_manager::discovery::announce::{Board, Presence, Subject, Wanted};

/// A node that had to be created twice within this time is disputed.
const SETTLED: Duration = Duration::from_secs(60);
/// How often a node is checked without an event: a lost watch costs no more than this.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often in a row something else may change between a check and an action.
const TURNS: u32 = 5;
/// Largest unpacked size of another process's announcement; ZooKeeper itself accepts at most a mebibyte.
const MOST: u64 = 1 << 20;

/// Maintains one node, within a session.
pub(super) struct Znode<S: Subject> {
    zookeeper: Arc<ZooKeeper>,
    client: Client,
    key: S::Key,
    board: Board<S>,
    backoff: Backoff,
    /// When the node was last created, and with what content.
    made: Option<(Instant, Vec<u8>)>,
}

/// The wanted node.
struct Node {
    path: String,
    data: Vec<u8>,
}

/// Result of checking the node.
enum Look {
    /// Our node exists; the watcher reports when it changes.
    Stands(OneshotWatcher),
    /// A younger process's node exists; the watcher reports when it changes.
    Superseded(String, OneshotWatcher),
    /// Our node was created, with this content.
    Made(Vec<u8>),
    /// Another process was faster.
    Changed,
}

impl<S: Subject> Znode<S> {
    pub(super) fn new(zookeeper: Arc<ZooKeeper>, client: Client, key: S::Key, board: Board<S>) -> Self {
        Self {
            zookeeper,
            client,
            key,
            board,
            backoff: Backoff::default(),
            made: None,
        }
    }

    /// Maintains the node as long as it is wanted; returns its key when it is withdrawn. `nudged`
    /// requests another check.
    pub(super) async fn keep(
        mut self,
        mut wanted: watch::Receiver<Wanted<S>>,
        mut nudged: watch::Receiver<()>,
    ) -> S::Key {
        let mut former: Option<String> = None;
        let mut turns = 0;
        loop {
            let subject = wanted.borrow_and_update().get(&self.key).cloned();
            let step = self.step(subject.as_ref(), &mut former).await;
            turns = if matches!(step, Ok(Some(Look::Changed))) {
                turns + 1
            } else {
                0
            };
            let (watcher, rest) = match step {
                Ok(None) => {
                    self.board.withdrawn(&self.key);
                    return self.key;
                }
                Ok(Some(Look::Stands(watcher))) => {
                    self.board.set(&self.key, Presence::Announced);
                    if self
                        .made
                        .as_ref()
                        .is_none_or(|(made, _)| made.elapsed() >= SETTLED)
                    {
                        self.backoff.clear(&self.key.to_string());
                    }
                    (Some(watcher), LOOK_AGAIN)
                }
                Ok(Some(Look::Superseded(by, watcher))) => {
                    self.board.set(&self.key, Presence::Superseded { by });
                    (Some(watcher), LOOK_AGAIN)
                }
                Ok(Some(Look::Made(data))) => match self.disputed(data) {
                    Some(rest) => (None, rest),
                    None => continue,
                },
                Ok(Some(Look::Changed)) if turns < TURNS => continue,
                Ok(Some(Look::Changed)) => (
                    None,
                    self.failed("another client keeps changing the announcement"),
                ),
                Err(error) => (None, self.failed(&error)),
            };
            tokio::select! {
                () = gone(watcher) => {}
                changed = wanted.changed() => if changed.is_err() {
                    // The session ends now, and this task with it.
                    pending::<()>().await;
                },
                asked = nudged.changed() => if asked.is_err() {
                    pending::<()>().await;
                },
                () = sleep(rest) => {}
            }
        }
    }

    /// Brings the node to the wanted state. `former` is the path of the node that may be ours. `None` if no node exists
    /// any more and none is wanted.
    async fn step(&self, subject: Option<&S>, former: &mut Option<String>) -> Result<Option<Look>, String> {
        let node = subject.map(|subject| self.node(subject)).transpose()?;
        let path = node.as_ref().map(|node| node.path.as_str());
        if let Some(former) = former.as_deref().filter(|former| Some(*former) != path) {
            self.withdraw(former).await?;
        }
        *former = path.map(str::to_owned);
        match node {
            Some(node) => self.look(&node).await.map(Some),
            None => Ok(None),
        }
    }

    fn node(&self, subject: &S) -> Result<Node, String> {
        let announcement = subject.announcement(&self.zookeeper.process);
        Ok(Node {
            path: format!("{}/{}", S::folder(&self.zookeeper.base), subject.address()),
            data: announcement.map_err(|e| e.to_string())?,
        })
    }

    async fn look(&self, node: &Node) -> Result<Look, String> {
        let path = &node.path;
        let (presence, stat, watcher) = match self.answer(self.client.get_and_watch_data(path)).await? {
            Ok(found) => found,
            Err(Error::NoNode) => return self.create(node).await,
            Err(error) => return Err(explain(&error, "read", path)),
        };
        let keeper = self.keeper(stat.ephemeral_owner);
        match self
            .zookeeper
            .process
            .judge(&plain(&presence), keeper, &node.data)
        {
            Judgement::Stands => Ok(Look::Stands(watcher)),
            Judgement::Yield { to } => Ok(Look::Superseded(to, watcher)),
            Judgement::Replace => self.replace(node, stat.version).await,
        }
    }

    fn keeper(&self, owner: i64) -> Keeper {
        match owner {
            0 => Keeper::Nobody,
            owner if owner == self.client.session_id().0 => Keeper::ThisSession,
            _ => Keeper::OtherSession,
        }
    }

    async fn create(&self, node: &Node) -> Result<Look, String> {
        let acls = self.zookeeper.acls();
        let options = CreateMode::Ephemeral.with_acls(acls);
        match self
            .answer(self.client.create(&node.path, &node.data, &options))
            .await?
        {
            Ok(_) => return Ok(Look::Made(node.data.clone())),
            Err(Error::NodeExists) => return Ok(Look::Changed),
            Err(Error::NoNode) => {}
            Err(error) => return Err(explain(&error, "create", &node.path)),
        }
        // The parent nodes are created by Druid with its first announcement, or here.
        let above = S::folder(&self.zookeeper.base);
        let options = CreateMode::Persistent.with_acls(acls);
        match self.answer(self.client.mkdir(&above, &options)).await? {
            Ok(()) => Ok(Look::Changed),
            Err(Error::NoNode) => Err(format!(
                "the node after the hosts in spec.discovery.zookeeper.hosts does not exist: create it, or \
                 remove it from that field ({})",
                self.zookeeper.ensemble
            )),
            Err(error) => Err(explain(&error, "create", &above)),
        }
    }

    /// Deletes the existing node and creates ours in one transaction: an overlord sees both, and no other process can
    /// come between.
    async fn replace(&self, node: &Node, version: i32) -> Result<Look, String> {
        let path = &node.path;
        let mut both = self.client.new_multi_writer();
        let options = CreateMode::Ephemeral.with_acls(self.zookeeper.acls());
        both.add_delete(path, Some(version))
            .and_then(|()| both.add_create(path, &node.data, &options))
            .map_err(|e| explain(&e, "replace", path))?;
        let done = self.answer(both.commit()).await?;
        match done.map_err(Error::from) {
            Ok(_) => Ok(Look::Made(node.data.clone())),
            Err(Error::NoNode | Error::BadVersion | Error::NodeExists) => Ok(Look::Changed),
            Err(error) => Err(explain(&error, "replace", path)),
        }
    }

    /// Deletes the node if it is of this session.
    async fn withdraw(&self, path: &str) -> Result<(), String> {
        let version = match self.answer(self.client.check_stat(path)).await? {
            Ok(Some(stat)) if self.keeper(stat.ephemeral_owner) == Keeper::ThisSession => stat.version,
            Ok(_) => return Ok(()),
            Err(error) => return Err(explain(&error, "read", path)),
        };
        // If another process took the node over in between, it notices the deletion and creates the node again.
        match self.answer(self.client.delete(path, Some(version))).await? {
            Ok(()) | Err(Error::NoNode | Error::BadVersion) => Ok(()),
            Err(error) => Err(explain(&error, "delete", path)),
        }
    }

    /// The answer to a request. Without a connection it waits for the next one, at the longest until the session has
    /// ended, which takes less than two time-outs.
    async fn answer<T>(&self, request: impl Future<Output = T>) -> Result<T, String> {
        let limit = self.client.session_timeout() * 2;
        let answer = timeout(limit, request).await;
        answer.map_err(|_| format!("ZooKeeper does not answer within {} s", limit.as_secs()))
    }

    /// Records that the node was created. Returns how long to pause if the same node was created a moment ago: two
    /// processes that do not recognise each other must not replace each other's node without end.
    fn disputed(&mut self, data: Vec<u8>) -> Option<Duration> {
        let again = matches!(&self.made, Some((made, of)) if made.elapsed() < SETTLED && *of == data);
        self.made = Some((Instant::now(), data));
        again.then(|| {
            self.board.set(&self.key, Presence::Announced);
            self.failed(
                "the announcement was removed twice within a minute: does another worker use this address?",
            )
        })
    }

    /// Reports the error and returns how long to pause.
    fn failed(&self, error: &str) -> Duration {
        tracing::warn!(announcement = %self.key, "{error}");
        self.board.wrong(&self.key, error);
        self.backoff.failed(&self.key.to_string(), Instant::now())
    }
}

/// Resolves when the watched node changes, or the session ends.
async fn gone(watcher: Option<OneshotWatcher>) {
    match watcher {
        Some(watcher) => drop(watcher.changed().await),
        None => pending().await,
    }
}

/// Unpacks an announcement: Druid compresses them (`druid.zk.service.compress`), unless configured otherwise.
pub(super) fn plain(data: &[u8]) -> Cow<'_, [u8]> {
    if !data.starts_with(&[0x1f, 0x8b]) {
        return Cow::Borrowed(data);
    }
    let mut plain = Vec::new();
    match GzDecoder::new(data).take(MOST).read_to_end(&mut plain) {
        Ok(_) => Cow::Owned(plain),
        // Druid did not write this; it cannot be read.
        Err(_) => Cow::Borrowed(data),
    }
}

pub(super) fn explain(error: &Error, doing: &str, path: &str) -> String {
    match error {
        Error::NoAuth => format!(
            "ZooKeeper denies the right to {doing} {path}: set spec.discovery.zookeeper.authRef to the digest \
             credentials that Druid uses (druid.zk.service.user)"
        ),
        Error::InvalidAcl => format!(
            "ZooKeeper does not accept the digest credentials of spec.discovery.zookeeper.authRef, with which \
             {path} is to be protected"
        ),
        Error::NotEmpty => {
            format!("{path} cannot be replaced: another client created nodes below it; delete them")
        }
        error => format!("ZooKeeper failed to {doing} {path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn unpacks_what_druid_packs_and_no_more_than_that() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(b"{}").unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(*plain(&packed), *b"{}");
        assert_eq!(*plain(b"{}"), *b"{}");
        assert_eq!(*plain(&packed[..9]), packed[..9]);
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![0; 3 << 20]).unwrap();
        assert_eq!(plain(&bomb.finish().unwrap()).len(), 1 << 20);
    }

    #[test]
    fn a_refusal_says_which_credentials() {
        let said = explain(&Error::NoAuth, "create", "/druid/x");
        assert!(
            said.contains("spec.discovery.zookeeper.authRef") && said.contains("/druid/x"),
            "{said}"
        );
    }
}
