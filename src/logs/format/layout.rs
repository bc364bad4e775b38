//! The keys of all objects stored for a task (pure).
//!
//! Log and report are where a stock overlord reads them. Druid writes task ids into keys unchanged, so no key is
//! percent-encoded here. All other objects are below `.peon`, which cannot be a task id: none begins with a dot.

use jiff::Timestamp;
use object_store::path::Path;
use sha2::{Digest, Sha256};

use crate::digest::hex;

use super::location::Location;
use super::parts::PartName;

/// Longest task id, in bytes, whose report has a file name of at most 255 bytes.
pub const LONGEST_IN_DIRECTORY: usize = 243;

const OWN: &str = ".peon";

/// Why something cannot be part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The task id.
    #[error("the log of the task {id:?} cannot be archived: {reason}")]
    TaskId {
        /// The id.
        id: String,
        /// The cause.
        reason: String,
    },
    /// A uid, or a namespace.
    #[error("{0:?} is not a Kubernetes name")]
    Name(String),
}

/// How keys are made from task ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Google,
    /// S3 and Azure.
    Folders,
}

/// The keys of one location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    kind: Kind,
    /// Empty for a directory, whose keys are relative to it.
    prefix: String,
}

impl Layout {
    /// The keys of this location.
    #[must_use]
    pub fn of(location: &Location) -> Self {
        let (kind, prefix) = match location {
            Location::File { .. } => (Kind::File, ""),
            Location::Google { prefix, .. } => (Kind::Google, prefix.as_str()),
            Location::S3 { prefix, .. } | Location::Azure { prefix, .. } => (Kind::Folders, prefix.as_str()),
        };
        Self {
            kind,
            prefix: prefix.to_owned(),
        }
    }

    /// The task's whole log.
    ///
    /// # Errors
    /// When the id cannot be in a key: it has U+001F or U+007F, the two control characters that Druid takes, or is too
    /// long for a file name.
    pub fn log(&self, task_id: &str) -> Result<Path, InvalidKey> {
        self.of_task(task_id, "log")
    }

    /// The task's report.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub fn report(&self, task_id: &str) -> Result<Path, InvalidKey> {
        self.of_task(task_id, "report.json")
    }

    /// The folder of the parts of a task's log, by the `PeonTask`'s uid.
    ///
    /// # Errors
    /// When the uid is none.
    pub fn parts(&self, uid: &str) -> Result<Path, InvalidKey> {
        self.own(&format!("parts/{}", name(uid)?))
    }

    /// One part: `<attempt>-<sequence>-<cursor>` in the folder of the task's parts.
    ///
    /// # Errors
    /// As [`Self::parts`].
    pub fn part(&self, uid: &str, part: &PartName) -> Result<Path, InvalidKey> {
        self.own(&format!("parts/{}/{part}", name(uid)?))
    }

    /// The marker that a task's log is complete. It remains, so that no shorter log ever replaces the log.
    ///
    /// # Errors
    /// As [`Self::parts`].
    pub fn composed(&self, uid: &str) -> Result<Path, InvalidKey> {
        self.own(&format!("composed/{}", name(uid)?))
    }

    /// Where an object is written before it gets its final name. Used for objects that take several requests, since no
    /// store finishes those conditionally. In a directory used for everything, since readers would see a file grow
    /// there, and a temporary name beside a long one would be too long.
    ///
    /// # Errors
    /// As [`Self::parts`].
    pub fn staged(&self, uid: &str, what: &str) -> Result<Path, InvalidKey> {
        self.own(&format!("staged/{}.{what}", name(uid)?))
    }

    /// Whether every object is staged before it gets its final name: in a directory.
    #[must_use]
    pub fn stages_all(&self) -> bool {
        self.kind == Kind::File
    }

    /// The log (`log`) or the report (`report.json`) of a task that does not own the keys of its id, by its
    /// `PeonTask`'s uid.
    ///
    /// # Errors
    /// As [`Self::parts`].
    pub fn aside(&self, uid: &str, what: &str) -> Result<Path, InvalidKey> {
        self.own(&format!("tasks/{}/{what}", name(uid)?))
    }

    /// The claim on log and report of an id: by a hash of their keys, since in Google several ids may have the same
    /// keys.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub fn claim(&self, task_id: &str) -> Result<Path, InvalidKey> {
        let log = self.log(task_id)?;
        let mut key = log.as_ref();
        // There the log of the id `a.report.json` is the report of the id `a`.
        while let (Kind::Google, Some(shorter)) = (self.kind, key.strip_suffix(".report.json")) {
            key = shorter;
        }
        self.own(&format!("claims/{}", hex(&Sha256::digest(key))))
    }

    /// Whether claims are folders of numbered files: in a directory, which has no conditional replace.
    #[must_use]
    pub fn numbers_claims(&self) -> bool {
        self.kind == Kind::File
    }

    /// A file written with every part and every history entry, only in a directory. There a stock overlord that removes
    /// old logs (`druid.indexer.logs.kill.enabled`) removes whole folders by the folder's own age, and only this file
    /// renews that of `.peon`.
    #[must_use]
    pub fn in_use(&self) -> Option<Path> {
        match self.kind {
            Kind::File => Path::parse(format!("{OWN}/in-use")).ok(),
            Kind::Google | Kind::Folders => None,
        }
    }

    /// Files without which folders that all tasks share would come and go, only in a directory.
    #[must_use]
    pub fn keeps(&self) -> Vec<Path> {
        if !self.stages_all() {
            return Vec::new();
        }
        let folders = ["composed", "parts", "staged", "tasks"];
        let keeps = folders.map(|folder| Path::parse(format!("{OWN}/{folder}/in-use")).ok());
        keeps.into_iter().flatten().collect()
    }

    /// The folder of a namespace's finished tasks, with one folder per day (UTC), `2026-11-21`.
    ///
    /// # Errors
    /// When the namespace is none.
    pub fn history_of(&self, namespace: &str) -> Result<Path, InvalidKey> {
        self.own(&format!("history/{}", name(namespace)?))
    }

    /// The entry of a finished task: `2026-11-21/20261121T112258.123Z-<uid>.json` in the namespace's folder. Keys sort
    /// by the time of completion.
    ///
    /// # Errors
    /// When namespace or uid are none.
    pub fn history(&self, namespace: &str, completed: Timestamp, uid: &str) -> Result<Path, InvalidKey> {
        let (day, time) = (day(completed), completed.strftime("%Y%m%dT%H%M%S%.3fZ"));
        self.own(&format!(
            "history/{}/{day}/{time}-{}.json",
            name(namespace)?,
            name(uid)?
        ))
    }

    /// The record of a success that is found by its name ([`super::success::key`]).
    ///
    /// # Errors
    /// When namespace or name are none.
    pub fn success(&self, namespace: &str, success: &str) -> Result<Path, InvalidKey> {
        self.own(&format!("succeeded/{}/{}.json", name(namespace)?, name(success)?))
    }

    fn of_task(&self, task_id: &str, what: &str) -> Result<Path, InvalidKey> {
        let invalid = |reason: String| InvalidKey::TaskId {
            id: task_id.to_owned(),
            reason,
        };
        crate::druid::task_id::check(task_id).map_err(invalid)?;
        if self.kind == Kind::File && task_id.len() > LONGEST_IN_DIRECTORY {
            return Err(invalid(format!(
                "it has {} bytes in UTF-8, at most {LONGEST_IN_DIRECTORY} fit into the name of its log file",
                task_id.len()
            )));
        }
        let prefix = &self.prefix;
        let key = match (self.kind, what) {
            (Kind::File, what) => format!("{task_id}.{what}"),
            (Kind::Google, "log") => format!("{prefix}/{}", task_id.replace(':', "_")),
            (Kind::Google, what) => format!("{prefix}/{}.{what}", task_id.replace(':', "_")),
            (Kind::Folders, what) => format!("{prefix}/{task_id}/{what}"),
        };
        Path::parse(key).map_err(|_| invalid("it contains a control character".to_owned()))
    }

    fn own(&self, rest: &str) -> Result<Path, InvalidKey> {
        let key = match self.prefix.as_str() {
            "" => format!("{OWN}/{rest}"),
            prefix => format!("{prefix}/{OWN}/{rest}"),
        };
        Path::parse(key).map_err(|_| InvalidKey::Name(rest.to_owned()))
    }
}

/// Name of a day's folder in the history.
#[must_use]
pub fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

/// Time and task of a history entry; `None` for a key that is no entry.
#[must_use]
pub fn read_history_key(key: &Path) -> Option<(Timestamp, String)> {
    let (time, uid) = key.filename()?.strip_suffix(".json")?.split_once('-')?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S%.fZ", time).ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some((time, name(uid).ok()?.to_owned()))
}

/// A uid or a namespace: letters, digits and `-`, at most 63 of them.
fn name(text: &str) -> Result<&str, InvalidKey> {
    let fits = (1..=63).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fits {
        Ok(text)
    } else {
        Err(InvalidKey::Name(text.to_owned()))
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
