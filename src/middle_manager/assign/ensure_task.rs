//! Keeps an assigned task: its PeonTask, then the chunks of its payload.

use std::collections::HashSet;

use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use super::decide::assignment::{Existing, Maker};
use super::decide::provenance::Provenance;
use super::match_submission::{Matched, NotNow, SubmissionMatch};
use super::task_reader::TaskReader;
use crate::api::PeonTask;
use crate::apiserver::classify::refusal::Refusal;
use crate::apiserver::request::{PROMPT, Posted, create_within, request_within};
use crate::clock::Clock;
use crate::druid::worker::TaskFacts;
use crate::middle_manager::registry::identity::Ordinal;
use crate::payload::chunks::new_task::New;
use crate::payload::chunks::{Chunks, Kind};
use crate::payload::create::{self, Made};

/// Names that others may have taken.
const MOST_NAMES: u32 = 16;

/// What came of keeping a task.
#[derive(Debug)]
pub(crate) enum Kept {
    /// It is kept, with its payload, as this PeonTask.
    As(Box<PeonTask>),
    /// It never can be, for this reason.
    Never(String),
}

/// A task on its way.
pub(crate) struct Attempt<'a> {
    client: &'a Client,
    maker: &'a Maker,
    clock: &'a Clock,
    identity: Ordinal,
    facts: &'a TaskFacts,
    json: &'a str,
    task_reader: TaskReader,
    /// The PeonTask that it says it was submitted for, as long as nothing speaks against it.
    said: Option<Provenance>,
    /// How many names others have.
    nth: u32,
    /// What is created under the next one; made once, since it may be large.
    new: Option<New>,
    /// What stands with its payload incomplete.
    stands: Option<New>,
    /// Whether the PeonTask of this name was created here.
    created: bool,
    /// The chunks whose creation was asked for here.
    asked: HashSet<String>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(
        client: &'a Client,
        maker: &'a Maker,
        clock: &'a Clock,
        identity: Ordinal,
        facts: &'a TaskFacts,
        json: &'a str,
    ) -> Self {
        Self {
            client,
            maker,
            clock,
            identity,
            facts,
            json,
            task_reader: TaskReader::new(client.clone(), &maker.namespace),
            said: Provenance::read(json, &facts.id).filter(|said| said.middle_manager == maker.uid),
            nth: 0,
            new: None,
            stands: None,
            created: false,
            asked: HashSet::new(),
        }
    }

    /// The PeonTask that stands and whose payload could not be completed.
    pub(crate) fn incomplete(self) -> Option<New> {
        self.stands
    }

    /// Does what is left to do. Saying it again completes what is missing.
    ///
    /// # Access control
    /// peontasks: create, get, patch. peontasks/status: patch. secrets, configmaps: create, get.
    ///
    /// # Errors
    /// When it is to be tried again.
    pub(crate) async fn go_on(&mut self) -> Result<Kept, NotNow> {
        if let Some(said) = &self.said {
            let adoption = SubmissionMatch {
                client: self.client,
                maker: self.maker,
                task_reader: &self.task_reader,
                identity: self.identity,
                facts: self.facts,
                json: self.json,
                said,
            };
            match adoption.adopt().await? {
                Matched::As(task) => return Ok(Kept::As(task)),
                Matched::Ended(why) => return Ok(Kept::Never(why)),
                Matched::Other => self.said = None,
            }
        }
        loop {
            let new = match self.new.take() {
                Some(new) => new,
                None => match self.maker.task(self.identity, self.facts, self.json, self.nth) {
                    Ok(new) => new,
                    Err(too_large) => return Ok(Kept::Never(too_large.to_string())),
                },
            };
            let new = self.new.insert(new).clone();
            let (task, chunks) = match self.create(&new).await? {
                Created::Here(task) => (task, new.chunks),
                Created::Before(task, chunks) => (task, chunks),
                Created::Never(message) => return Ok(Kept::Never(message)),
                Created::Taken if self.nth < MOST_NAMES => {
                    self.nth += 1;
                    (self.new, self.created) = (None, false);
                    continue;
                }
                Created::Taken => return Err(NotNow(format!("others have {MOST_NAMES} names of it"))),
            };
            // Of a task that has a verdict nothing is read any more.
            if !task.is_final() {
                let new = New {
                    task: (*task).clone(),
                    chunks,
                };
                if let Err(not_now) = self.complete(&new).await {
                    self.stands = Some(new);
                    return Err(not_now);
                }
            }
            return Ok(Kept::As(task));
        }
    }

    async fn create(&mut self, new: &New) -> Result<Created, NotNow> {
        let name = new.task.name_any();
        let tasks: Api<PeonTask> = Api::namespaced(self.client.clone(), &self.maker.namespace);
        let params = PostParams::default();
        let cannot = |why: &str| NotNow(format!("PeonTask {name} cannot be created: {why}"));
        let created = create_within(PROMPT, "create peontask", tasks.create(&params, &new.task)).await;
        match created.map_err(|e| cannot(&e.why()))? {
            Posted::Created(task) => {
                self.created = true;
                return Ok(Created::Here(Box::new(task)));
            }
            Posted::Refused(Refusal::ForGood(message)) => return Ok(Created::Never(message)),
            Posted::Refused(refusal) => return Err(cannot(refusal.message())),
            Posted::Exists => {}
        }
        let existing = request_within(PROMPT, "get peontask", tasks.get_opt(&name)).await;
        let existing = existing.map_err(|e| NotNow(format!("PeonTask {name}: {}", e.why())))?;
        let Some(existing) = existing else {
            return Err(NotNow(format!("PeonTask {name} was there and is gone")));
        };
        match Existing::of(&existing, new, self.json, self.clock.wall()) {
            Existing::Same(chunks) => Ok(Created::Before(Box::new(existing), chunks)),
            Existing::Other(what) => {
                tracing::warn!(
                    task = name,
                    task_id = self.facts.id,
                    "there is a PeonTask of this name with another {what}: it is left alone, and the task gets another name"
                );
                Ok(Created::Taken)
            }
        }
    }

    /// Creates the chunks that are missing.
    async fn complete(&mut self, new: &New) -> Result<(), NotNow> {
        let Some((_, kind)) = new.chunks else {
            return Ok(());
        };
        for chunk in new.objects(&new.task) {
            let name = chunk["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let is_first = self.asked.insert(name.clone());
            let made = create::create(self.client, &self.maker.namespace, kind, chunk);
            let made = request_within(PROMPT, "create a chunk", made).await;
            let made = made.map_err(|e| NotNow(format!("{name} cannot be created: {}", e.why())))?;
            // Another PeonTask of this name was deleted a moment ago, and its chunks are about to be.
            if made == Made::Exists && is_first && self.created {
                self.asked.remove(&name);
                return Err(NotNow(format!("{name} belongs to something else")));
            }
        }
        Ok(())
    }
}

enum Created {
    Here(Box<PeonTask>),
    Before(Box<PeonTask>, Option<(Chunks, Kind)>),
    /// Something else has the name.
    Taken,
    Never(String),
}
