//! Stores an assigned task: its PeonTask, then the chunks of its payload.

use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use super::decide::assignment::Maker;
use super::decide::ensure::{Kept, Next, Progress, Step};
use super::decide::not_now::NotNow;
use super::match_submission::SubmissionMatch;
use super::task_reader::TaskReader;
use crate::api::PeonTask;
use crate::apiserver::request::{PROMPT, create_within, request_within};
use crate::clock::Clock;
use crate::druid::worker::TaskFacts;
use crate::middle_manager::registry::identity::Ordinal;
use crate::payload::chunks::new_task::New;
use crate::payload::create::{self, Made};

/// The storing of one task.
pub(crate) struct Attempt<'a> {
    client: &'a Client,
    maker: &'a Maker,
    clock: &'a Clock,
    identity: Ordinal,
    facts: &'a TaskFacts,
    json: &'a str,
    task_reader: TaskReader,
    progress: Progress<'a>,
    /// The PeonTask that exists and whose chunks could not all be created.
    incomplete: Option<New>,
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
            progress: Progress::new(maker, identity, facts, json),
            incomplete: None,
        }
    }

    /// The PeonTask that exists and whose payload could not be completed.
    pub(crate) fn incomplete(self) -> Option<New> {
        self.incomplete
    }

    /// Performs the remaining steps. Repeating it completes what is missing.
    ///
    /// # Access control
    /// peontasks: create, get, patch. peontasks/status: patch. secrets, configmaps: create, get.
    ///
    /// # Errors
    /// When it is to be tried again.
    pub(crate) async fn go_on(&mut self) -> Result<Kept, NotNow> {
        loop {
            match self.progress.next_step() {
                Next::Match(said) => {
                    let matching = SubmissionMatch {
                        client: self.client,
                        maker: self.maker,
                        task_reader: &self.task_reader,
                        identity: self.identity,
                        facts: self.facts,
                        json: self.json,
                        said: &said,
                    };
                    if let Some(kept) = self.progress.matched(matching.run().await?) {
                        return Ok(kept);
                    }
                }
                Next::Create(new) => {
                    if let Some(kept) = self.store(&new).await? {
                        return Ok(kept);
                    }
                }
                Next::Never(why) => return Ok(Kept::Never(why)),
            }
        }
    }

    /// Creates a PeonTask and its chunks; `None` if its name belongs to another one.
    async fn store(&mut self, new: &New) -> Result<Option<Kept>, NotNow> {
        let name = new.task.name_any();
        let mut step = self.create(&name, new).await?;
        if let Step::Read = step {
            step = self.read(&name, new).await?;
        }
        match step {
            Step::Done(task) => Ok(Some(Kept::As(task))),
            Step::Never(why) => Ok(Some(Kept::Never(why))),
            Step::CreateChunks(new) => {
                if let Err(not_now) = self.create_chunks(&new).await {
                    self.incomplete = Some(*new);
                    return Err(not_now);
                }
                Ok(Some(Kept::As(Box::new(new.task))))
            }
            Step::NextName(what) => {
                tracing::warn!(
                    task = name,
                    task_id = self.facts.id,
                    "another PeonTask has this name, but differs in its {what}: it is not changed, and the \
                     task gets another name"
                );
                Ok(None)
            }
            Step::Read => Ok(None),
        }
    }

    async fn create(&mut self, name: &str, new: &New) -> Result<Step, NotNow> {
        let params = PostParams::default();
        let tasks = self.tasks();
        let answer = create_within(PROMPT, "create peontask", tasks.create(&params, &new.task)).await;
        let answer = answer.map_err(|e| NotNow(format!("PeonTask {name} cannot be created: {}", e.why())))?;
        self.progress.posted(name, new, answer)
    }

    async fn read(&mut self, name: &str, new: &New) -> Result<Step, NotNow> {
        let tasks = self.tasks();
        let existing = request_within(PROMPT, "get peontask", tasks.get_opt(name)).await;
        let existing = existing.map_err(|e| NotNow(format!("PeonTask {name}: {}", e.why())))?;
        self.progress.read(name, new, existing, self.clock.wall())
    }

    /// Creates the missing chunks.
    async fn create_chunks(&mut self, new: &New) -> Result<(), NotNow> {
        let Some((_, kind)) = new.chunks else {
            return Ok(());
        };
        for chunk in new.objects(&new.task) {
            let name = chunk["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let is_first = self.progress.asks(&name);
            let made = create::create(self.client, &self.maker.namespace, kind, chunk);
            let made = request_within(PROMPT, "create a chunk", made).await;
            match made.map_err(|e| NotNow(format!("{name} cannot be created: {}", e.why())))? {
                Made::Created => {}
                Made::Exists => self.progress.chunk_exists(&name, is_first)?,
            }
        }
        Ok(())
    }

    fn tasks(&self) -> Api<PeonTask> {
        Api::namespaced(self.client.clone(), &self.maker.namespace)
    }
}
