//! Object stores on this machine: the servers, and the cases that archive logs in them.
//!
//! The cases run the program `archive`, which is the operator's own code, and look at what it did with other clients:
//! plain HTTP, or the server's files. They need no cluster.

mod azurite;
mod cases;
mod fake_gcs;
mod file;
mod http;
mod programs;
mod server;
mod versitygw;
mod xml_put;

use anyhow::Result;

pub use cases::{CASES, StoreCase};

/// A store as an overlord's properties name it, and as a client sees it that has nothing to do with ours.
trait Place {
    /// Lines of an overlord's `runtime.properties`.
    fn properties(&self) -> String;
    /// The same with credentials that are refused, and a word of the error; `None` where there are no credentials.
    fn refused(&self) -> Option<(String, &'static str)>;
    /// Where Druid reads a task's log.
    fn log(&self, id: &str) -> String;
    /// Where Druid reads a task's report.
    fn report(&self, id: &str) -> String;
    /// The bytes of an object.
    fn read(&self, key: &str) -> Result<Option<Vec<u8>>>;
    /// The keys of all objects.
    fn keys(&self) -> Result<Vec<String>>;
    /// What stays of ours when all is forgotten.
    fn keeps(&self) -> Option<String> {
        None
    }
    /// Whether the server takes an object in several requests.
    fn takes_large_objects(&self) -> bool {
        true
    }
}

/// The prefix of all keys, where a store has one.
const PREFIX: &str = "druid/task logs";
/// The bucket or container.
const BUCKET: &str = "archive";
