//! Object stores on this machine, and clients that have nothing to do with the operator's: plain HTTP, or the server's files.

pub(crate) mod azurite;
pub(crate) mod counted;
pub(crate) mod fake_gcs;
pub(crate) mod file;
pub(crate) mod http;
mod programs;
pub(crate) mod server;
pub(crate) mod versitygw;
mod xml_put;

use anyhow::{Context, Result};

use crate::testbed::{cache::Cache, progress::Progress, wait::saw};

/// A store as an overlord's properties name it, and as a client sees it that has nothing to do with ours.
pub(crate) trait Place {
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
    fn keeps(&self) -> Vec<String> {
        Vec::new()
    }
    /// Whether the server takes an object in several requests.
    fn takes_large_objects(&self) -> bool {
        true
    }
}

/// A server that runs: its name, the properties by which logs are archived there, and how to read a task's log back.
pub struct Running<'a> {
    /// Its name, fit for names of objects.
    pub name: &'static str,
    /// Lines of a `runtime.properties`.
    pub properties: String,
    place: &'a dyn Place,
}

impl Running<'_> {
    /// The log of this task, as a client sees it that has nothing to do with ours.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn log(&self, id: &str) -> Result<Option<Vec<u8>>> {
        self.place.read(&self.place.log(id))
    }

    /// How many parts there are of logs that are not whole yet.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub fn parts(&self) -> Result<usize> {
        let (keys, keeps) = (self.place.keys()?, self.place.keeps());
        // A directory's store writes under a name with this sign, and renames what is complete.
        let is_part =
            |key: &&String| key.contains(".peon/parts/") && !keeps.contains(key) && !key.contains('#');
        let parts = keys.iter().filter(is_part).count();
        saw(format_args!(
            "{} with {parts} parts of {} objects",
            self.name,
            keys.len()
        ));
        Ok(parts)
    }
}

/// Starts each server, has it used, and ends it.
///
/// # Errors
/// When one cannot be started; and the user's.
pub fn for_each(cache: &Cache, progress: &Progress, used: impl Fn(&Running<'_>) -> Result<()>) -> Result<()> {
    let use_of = |name, place: &dyn Place| {
        let properties = place.properties();
        let running = Running {
            name,
            properties,
            place,
        };
        used(&running).with_context(|| name.to_owned())
    };
    use_of("s3", &versitygw::Versitygw::start(cache, progress)?)?;
    use_of("google", &fake_gcs::FakeGcs::start(cache, progress)?)?;
    use_of("azure", &azurite::Azurite::start(cache, progress)?)
}

/// Starts all servers, has them used together, and ends them.
///
/// # Errors
/// As [`for_each`].
pub fn with_all(
    cache: &Cache,
    progress: &Progress,
    used: impl FnOnce(&[Running<'_>]) -> Result<()>,
) -> Result<()> {
    let s3 = versitygw::Versitygw::start(cache, progress)?;
    let google = fake_gcs::FakeGcs::start(cache, progress)?;
    let azure = azurite::Azurite::start(cache, progress)?;
    let places: [(&'static str, &dyn Place); 3] = [("s3", &s3), ("google", &google), ("azure", &azure)];
    used(&places.map(|(name, place)| Running {
        name,
        properties: place.properties(),
        place,
    }))
}

/// A directory of this machine, for an operator that runs outside the cluster.
pub struct Directory(file::Directory);

impl Directory {
    /// An empty one; it goes with this value.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self> {
        Ok(Self(file::Directory::new()?))
    }

    /// As a store.
    #[must_use]
    pub fn running(&self) -> Running<'_> {
        Running {
            name: "file",
            properties: self.0.properties(),
            place: &self.0,
        }
    }
}

/// The prefix of all keys, where a store has one.
const PREFIX: &str = "druid/task logs";
/// The bucket or container.
const BUCKET: &str = "archive";
