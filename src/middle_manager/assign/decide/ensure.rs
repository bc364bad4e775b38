//! The next step for an assignment until its PeonTask exists with its payload (pure).

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::assignment::{Existing, Maker};
use super::not_now::NotNow;
use super::provenance::Provenance;
use crate::api::PeonTask;
use crate::apiserver::classify::refusal::{Posted, Refusal};
use crate::druid::worker::TaskFacts;
use crate::middle_manager::registry::identity::Ordinal;
use crate::payload::chunks::new_task::New;
use crate::payload::chunks::{Chunks, Kind};

/// Most candidate names that are tried.
const MOST_NAMES: u32 = 16;
/// Delay between two tries: first and longest.
pub const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Result of storing an assignment.
#[derive(Debug)]
pub enum Kept {
    /// The assignment is stored, with its payload, as this PeonTask.
    As(Box<PeonTask>),
    /// The assignment can never be stored, for this reason.
    Never(String),
}

/// Result of matching an assignment with the PeonTask that it names.
#[derive(Debug)]
pub enum Matched {
    /// The assignment is stored in the PeonTask.
    As(Box<PeonTask>),
    /// The task was ended before, for this reason.
    Ended(String),
    /// The assignment does not belong to the PeonTask.
    Other,
}

/// The next step of an assignment.
#[derive(Debug)]
pub enum Next {
    /// Match it with the PeonTask that it names.
    Match(Provenance),
    /// Create this PeonTask.
    Create(Box<New>),
    /// Nothing: the assignment can never be stored, for this reason.
    Never(String),
}

/// The step after the answer to the creation of a PeonTask.
#[derive(Debug)]
pub enum Step {
    /// Read the PeonTask that has the name.
    Read,
    /// Create the missing chunks of this PeonTask.
    CreateChunks(Box<New>),
    /// Done: the assignment has its PeonTask.
    Done(Box<PeonTask>),
    /// The name belongs to another PeonTask, which differs in this respect: use another name.
    NextName(&'static str),
    /// Nothing: the assignment can never be stored, for this reason.
    Never(String),
}

/// The state of storing an assignment, over all tries.
#[derive(Debug)]
pub struct Progress<'a> {
    maker: &'a Maker,
    identity: Ordinal,
    facts: &'a TaskFacts,
    json: &'a str,
    /// The PeonTask that it names as the one it was submitted for, unless that has been disproved.
    said: Option<Provenance>,
    /// Number of candidate names taken by other objects.
    nth: u32,
    /// The objects to create under the next name; built once, since they may be large.
    new: Option<New>,
    /// Whether this process created the PeonTask of this name.
    created: bool,
    /// The chunks whose creation this process requested.
    asked: HashSet<String>,
}

impl<'a> Progress<'a> {
    /// The initial state.
    #[must_use]
    pub fn new(maker: &'a Maker, identity: Ordinal, facts: &'a TaskFacts, json: &'a str) -> Self {
        Self {
            maker,
            identity,
            facts,
            json,
            said: Provenance::read(json, &facts.id).filter(|said| said.middle_manager == maker.uid),
            nth: 0,
            new: None,
            created: false,
            asked: HashSet::new(),
        }
    }

    /// The next step.
    pub fn next_step(&mut self) -> Next {
        if let Some(said) = &self.said {
            return Next::Match(said.clone());
        }
        let new = match self.new.take() {
            Some(new) => Ok(new),
            None => self.maker.task(self.identity, self.facts, self.json, self.nth),
        };
        match new {
            Ok(new) => Next::Create(Box::new(self.new.insert(new).clone())),
            Err(too_large) => Next::Never(too_large.to_string()),
        }
    }

    /// Takes the outcome of [`Next::Match`]; `None` if the assignment gets its own PeonTask.
    pub fn matched(&mut self, outcome: Matched) -> Option<Kept> {
        match outcome {
            Matched::As(task) => Some(Kept::As(task)),
            Matched::Ended(why) => Some(Kept::Never(why)),
            Matched::Other => {
                self.said = None;
                None
            }
        }
    }

    /// Takes the answer to [`Next::Create`].
    ///
    /// # Errors
    /// When the API server refuses it for now.
    pub fn posted(&mut self, name: &str, new: &New, answer: Posted<PeonTask>) -> Result<Step, NotNow> {
        match answer {
            Posted::Created(task) => {
                self.created = true;
                Ok(chunks_of(task, new.chunks.clone()))
            }
            Posted::Exists => Ok(Step::Read),
            Posted::Refused(Refusal::ForGood(message)) => Ok(Step::Never(message)),
            Posted::Refused(refusal) => Err(NotNow(format!(
                "PeonTask {name} cannot be created: {}",
                refusal.message()
            ))),
        }
    }

    /// Takes the PeonTask that has the name.
    ///
    /// # Errors
    /// When it is gone by now, or too many names are taken.
    pub fn read(
        &mut self,
        name: &str,
        new: &New,
        existing: Option<PeonTask>,
        now: Timestamp,
    ) -> Result<Step, NotNow> {
        let Some(existing) = existing else {
            return Err(NotNow(format!(
                "PeonTask {name} was deleted while it was being read"
            )));
        };
        match Existing::of(&existing, new, self.json, now) {
            Existing::Same(chunks) => Ok(chunks_of(existing, chunks)),
            Existing::Other(_) if self.nth >= MOST_NAMES => Err(NotNow(format!(
                "{MOST_NAMES} candidate names are taken by other objects"
            ))),
            Existing::Other(what) => {
                self.nth += 1;
                (self.new, self.created) = (None, false);
                Ok(Step::NextName(what))
            }
        }
    }

    /// Records that a chunk is about to be created; returns whether for the first time.
    pub fn asks(&mut self, chunk: &str) -> bool {
        self.asked.insert(chunk.to_owned())
    }

    /// An object has the name of a chunk; `is_first` is what [`asks`](Self::asks) returned for its creation.
    ///
    /// # Errors
    /// When it is not that chunk: it belongs to another PeonTask of this name that was deleted a moment ago, and is about
    /// to be deleted with it.
    pub fn chunk_exists(&mut self, chunk: &str, is_first: bool) -> Result<(), NotNow> {
        if is_first && self.created {
            self.asked.remove(chunk);
            return Err(NotNow(format!("{chunk} belongs to another owner")));
        }
        Ok(())
    }
}

/// Chunks of a task that has a verdict are no longer read.
fn chunks_of(task: PeonTask, chunks: Option<(Chunks, Kind)>) -> Step {
    if task.is_final() {
        return Step::Done(Box::new(task));
    }
    Step::CreateChunks(Box::new(New { task, chunks }))
}

/// The delay before the next try after `tries` tries, if `left` time remains; `None` if it is not enough.
#[must_use]
pub fn pause(tries: u32, left: Duration) -> Option<Duration> {
    let (first, longest) = PAUSES;
    let pause = first.saturating_mul(1 << tries.min(16)).min(longest);
    (pause < left).then_some(pause)
}

/// Why the payload of a PeonTask is no longer completed; `None` if it is. `found` is the object that has its name now.
#[must_use]
pub fn not_wanted(found: Option<&PeonTask>, new: &New) -> Option<&'static str> {
    match found {
        Some(task) if task.metadata.uid != new.task.metadata.uid => {
            Some("not needed: another PeonTask has the name")
        }
        Some(task) if task.is_final() => Some("not needed: the task has ended"),
        Some(_) => None,
        None => Some("not needed: the PeonTask is gone"),
    }
}

#[cfg(test)]
#[path = "ensure_tests.rs"]
mod tests;
