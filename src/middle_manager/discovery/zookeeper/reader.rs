//! Reads announcements of others, with the session that announces the identities.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use zookeeper_client::{Client, Error};

use super::znode::{explain, plain};
use crate::druid::discovery::BasePath;

/// Longest time that an answer may take. Announcing is not affected: requests of a session do not wait for each other.
const LIMIT: Duration = Duration::from_secs(10);

/// The client of the current session, if there is one.
pub(super) struct Session(watch::Sender<Option<Client>>);

impl Default for Session {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

/// A client knows its session's password.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    /// Lets readers use the session as long as the returned value lives: a session ends with its last client, so this
    /// one must not stay.
    pub(super) fn share(&self, client: &Client) -> Shared<'_> {
        self.0.send_replace(Some(client.clone()));
        Shared(self)
    }
}

/// A session that readers may use.
pub(super) struct Shared<'a>(&'a Session);

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        self.0.0.send_replace(None);
    }
}

/// Reads the announcements of Indexers.
pub struct Reader {
    session: watch::Receiver<Option<Client>>,
    base: BasePath,
}

/// A node was not read: nothing is known of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// The process has no session with ZooKeeper; the state of its identities says why.
    #[error("there is no session with ZooKeeper")]
    NoSession,
    /// The request failed.
    #[error("{0}")]
    Failed(String),
}

impl Reader {
    pub(super) fn new(session: &Session, base: BasePath) -> Self {
        let session = session.0.subscribe();
        Self { session, base }
    }

    /// The announcement of the Indexer with that `host:port`, unpacked; `None` if there is none.
    ///
    /// # Errors
    /// When there is no session, or no answer within ten seconds, or ZooKeeper refuses.
    pub async fn indexer(&self, address: &str) -> Result<Option<Vec<u8>>, NotRead> {
        let path = self.base.indexer(address);
        // The request has no client of its own: the session may end meanwhile.
        let read = match &*self.session.borrow() {
            Some(client) => client.get_data(&path),
            None => return Err(NotRead::NoSession),
        };
        match timeout(LIMIT, read).await {
            Ok(Ok((data, _))) => Ok(Some(plain(&data).into_owned())),
            Ok(Err(Error::NoNode)) => Ok(None),
            Ok(Err(error)) => Err(NotRead::Failed(explain(&error, "read", &path))),
            Err(_) => Err(NotRead::Failed(format!(
                "ZooKeeper does not answer within {} s",
                LIMIT.as_secs()
            ))),
        }
    }
}
