//! The discovery service of a Druid cluster: ZooKeeper, or the API server of Kubernetes.

use tokio::sync::watch;

use super::announce::{Board, Discovery, Wanted};
use super::kubernetes::Kubernetes;
use super::zookeeper::ZooKeeper;
use super::zookeeper::reader::NotRead;
use super::{kubernetes, zookeeper};

/// Where the workers are announced.
#[derive(Debug)]
pub enum Service {
    /// In ZooKeeper.
    ZooKeeper(ZooKeeper),
    /// On pods.
    Kubernetes(Kubernetes),
}

impl Service {
    /// Reads announcements of others.
    #[must_use]
    pub fn reader(&self) -> Reader {
        match self {
            Self::ZooKeeper(zookeeper) => Reader::ZooKeeper(zookeeper.reader()),
            Self::Kubernetes(kubernetes) => Reader::Kubernetes(Box::new(kubernetes.reader())),
        }
    }
}

impl Discovery for Service {
    async fn keep(self, wanted: watch::Receiver<Wanted>, board: Board) {
        match self {
            Self::ZooKeeper(zookeeper) => zookeeper.keep(wanted, board).await,
            Self::Kubernetes(kubernetes) => kubernetes.keep(wanted, board).await,
        }
    }
}

/// Reads the announcements of Indexers.
pub enum Reader {
    /// In ZooKeeper.
    ZooKeeper(zookeeper::reader::Reader),
    /// On their pods.
    Kubernetes(Box<kubernetes::reader::Reader>),
}

impl Reader {
    /// The announcement of the Indexer with that `host:port`; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn indexer(&self, address: &str) -> Result<Option<Vec<u8>>, NotRead> {
        match self {
            Self::ZooKeeper(reader) => reader.indexer(address).await,
            Self::Kubernetes(reader) => reader.indexer(address).await.map_err(NotRead::Failed),
        }
    }
}
