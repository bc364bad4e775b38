//! Announces workers in Druid's ZooKeeper (`druid.discovery.type=curator`).
//!
//! All announcements of one value share a session. Each is an ephemeral node, which is removed with the session: when the session
//! expires, another one is opened and everything is announced again. A lost connection has no effect as long as the
//! session lives.

mod ensemble;
pub mod reader;
mod znode;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zookeeper_client::{Acls, Client, Error, SessionState};

use self::ensemble::{Ensemble, InvalidHost};
use self::reader::{Reader, Session};
use self::znode::Znode;
use super::announce::{Board, Discovery, Subject, Wanted};
use crate::apiserver::backoff::Backoff;
use crate::druid::discovery::{BasePath, InvalidPath, Process};
use crate::druid_http::credentials::Credentials;

/// Longest time that one host may be silent. Less with short sessions.
const SILENCE: Duration = Duration::from_secs(10);
/// A session that lived this long does not count as one of several failures in a row.
const LASTED: Duration = Duration::from_secs(60);
/// Key under which failures of sessions are counted.
const SESSION: &str = "session";

/// The error while a session has no connection.
const LOST: &str = "the connection to ZooKeeper is lost; the announcements remain until the session ends";

/// Connection settings of ZooKeeper.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `druid.zk.service.host`: hosts and ports, separated by commas.
    pub hosts: String,
    /// `druid.zk.paths.base`, with or without a leading slash.
    pub base_path: String,
    /// Time after which a silent session ends; the server may limit it.
    pub session_timeout: Duration,
    /// If Druid writes with ACLs (`druid.zk.service.acl`): its `druid.zk.service.user` and `.pwd`. Created nodes are
    /// then accessible to these credentials only, else to everybody.
    pub credentials: Option<Credentials>,
}

/// Invalid settings.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// A host.
    #[error("spec.discovery.zookeeper.hosts: {0}")]
    Hosts(#[from] InvalidHost),
    /// The base path.
    #[error("spec.discovery.zookeeper.basePath: {0}")]
    BasePath(#[from] InvalidPath),
}

/// Announces in ZooKeeper.
#[derive(Debug)]
pub struct ZooKeeper {
    ensemble: Ensemble,
    base: BasePath,
    session_timeout: Duration,
    credentials: Option<Credentials>,
    process: Process,
    session: Session,
}

impl ZooKeeper {
    /// Announces for this process; it does not connect yet.
    ///
    /// # Errors
    /// When hosts or base path cannot be read.
    pub fn new(settings: &Settings, process: Process) -> Result<Self, InvalidSettings> {
        Ok(Self {
            ensemble: Ensemble::new(&settings.hosts)?,
            base: BasePath::new(&settings.base_path)?,
            session_timeout: settings.session_timeout,
            credentials: settings.credentials.clone(),
            process,
            session: Session::default(),
        })
    }

    /// Reads announcements of others, with the sessions in which this value announces.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(&self.session, self.base.clone())
    }

    /// Druid's ACL rule: all rights for those credentials, or for everybody.
    fn acls(&self) -> Acls<'static> {
        if self.credentials.is_some() {
            Acls::creator_all()
        } else {
            Acls::anyone_all()
        }
    }

    async fn connect(&self) -> Result<Client, String> {
        let silence = SILENCE.min(self.session_timeout * 2 / 5);
        let mut connector = Client::connector()
            .with_session_timeout(self.session_timeout)
            .with_connection_timeout(silence)
            .with_fail_eagerly();
        if let Some(credentials) = &self.credentials {
            connector = connector.with_auth("digest", credentials.pair().as_bytes());
        }
        // A host may be silent twice: before it accepts the connection, and after.
        let hosts = u32::try_from(self.ensemble.len()).unwrap_or(u32::MAX);
        let limit = silence.saturating_mul(2).saturating_mul(hosts) + SILENCE;
        match timeout(limit, connector.connect(&self.ensemble.to_string())).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(Error::NoHosts | Error::Timeout | Error::ConnectionLoss)) | Err(_) => {
                Err(self.ensemble.diagnose().await)
            }
            Ok(Err(error)) => Err(format!("no session with ZooKeeper: {error}; it is tried again")),
        }
    }

    /// Makes the announcements match what is wanted for as long as the session lives. Returns why the session ended;
    /// `None` if nothing is wanted any more.
    async fn hold<S: Subject>(
        self: &Arc<Self>,
        client: Client,
        wanted: &mut watch::Receiver<Wanted<S>>,
        board: &Board<S>,
    ) -> Option<String> {
        let shared = self.session.share(&client);
        let mut state = client.state_watcher();
        // An end before this moment is not reported again.
        let mut now = client.state();
        let (nudge, nudged) = watch::channel(());
        let mut places = JoinSet::new();
        let mut held = BTreeSet::new();
        let lost = loop {
            let new: Vec<_> = {
                let wanted = wanted.borrow_and_update();
                wanted
                    .keys()
                    .filter(|key| held.insert((*key).clone()))
                    .cloned()
                    .collect()
            };
            for key in new {
                let place = Znode::new(self.clone(), client.clone(), key, board.clone());
                places.spawn(place.keep(wanted.clone(), nudged.clone()));
            }
            if now.is_terminated() {
                break Some(over(now));
            }
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() {
                    break None;
                },
                Some(ended) = places.join_next() => match ended {
                    Ok(key) => {
                        held.remove(&key);
                    }
                    Err(error) => break Some(format!("announcing failed ({error}); please report this bug")),
                },
                to = state.changed() => {
                    now = to;
                    if now == SessionState::Disconnected {
                        board.all_wrong(&wanted.borrow(), false, LOST);
                    } else {
                        // Whatever happened meanwhile, each node is checked.
                        nudge.send_replace(());
                    }
                }
            }
        };
        drop(shared);
        // None of them writes to the board after this.
        places.shutdown().await;
        if lost.is_none() {
            // The session ends with its last client, and its nodes with it.
            drop(client);
            while !now.is_terminated() {
                now = state.changed().await;
            }
            for key in held {
                board.withdrawn(&key);
            }
        }
        lost
    }
}

impl<S: Subject> Discovery<S> for ZooKeeper {
    async fn keep(self, mut wanted: watch::Receiver<Wanted<S>>, board: Board<S>) {
        let this = Arc::new(self);
        let backoff = Backoff::default();
        let mut error = None;
        while wanted.wait_for(|wanted| !wanted.is_empty()).await.is_ok() {
            let connecting = this.connect();
            let Some(connected) = meanwhile(connecting, &mut wanted, &board, error.as_deref()).await else {
                return;
            };
            let why = match connected {
                Ok(client) => {
                    tracing::info!(hosts = %this.ensemble, "connected to ZooKeeper");
                    let begun = Instant::now();
                    let Some(why) = this.hold(client, &mut wanted, &board).await else {
                        return;
                    };
                    if begun.elapsed() >= LASTED {
                        backoff.clear(SESSION);
                    }
                    why
                }
                Err(why) => why,
            };
            tracing::warn!(hosts = %this.ensemble, "{why}");
            board.all_wrong(&wanted.borrow(), true, &why);
            let rest = tokio::time::sleep(backoff.failed(SESSION, Instant::now()));
            if meanwhile(rest, &mut wanted, &board, Some(&why)).await.is_none() {
                return;
            }
            error = Some(why);
        }
    }
}

fn over(session: SessionState) -> String {
    match session {
        SessionState::AuthFailed => {
            "ZooKeeper refuses the credentials of spec.discovery.zookeeper.authRef".to_owned()
        }
        other => format!("the session with ZooKeeper has ended ({other}); a new one is opened"),
    }
}

/// Waits for something while nothing is announced and `wanted` may change. `None` if nothing is wanted any more.
async fn meanwhile<T, S: Subject>(
    task: impl Future<Output = T>,
    wanted: &mut watch::Receiver<Wanted<S>>,
    board: &Board<S>,
    error: Option<&str>,
) -> Option<T> {
    let mut task = std::pin::pin!(task);
    loop {
        tokio::select! {
            done = &mut task => return Some(done),
            changed = wanted.changed() => {
                changed.ok()?;
                if let Some(error) = error {
                    board.all_wrong(&wanted.borrow(), true, error);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
