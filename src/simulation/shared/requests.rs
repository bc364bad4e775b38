//! Requests of passes over tasks: what becomes of them, and what a status may say after them.

use serde_json::Value;

use super::super::client::Outcome;
use super::super::model_api::{Answer, Kind, Request, refusal};
use super::super::pool::is_indexer;
use super::super::wire::{FATES, FATES_OF_POSTS, Fate, plural};
use super::Planted;
use super::world::World;
use crate::api::conditions::{COMPLETE, FAILED, is_true};
use crate::api::{PeonTask, RunKind};
use crate::druid::worker::TaskState;
use crate::indexer::polls::Polling;
use crate::logs::format::shared_log::{LineCutter, TaskLines};
use crate::task::fixtures::at;

impl World {
    /// A process goes on: with the request that it waits for, or with a pass that is due.
    pub async fn operate(&mut self, faults: bool) -> bool {
        let first = usize::from(faults && self.dice.one_in(4));
        for process in [first, 1 - first] {
            if self.processes[process].is_passing() {
                self.move_request(process, faults).await;
                return true;
            }
            let now = self.now();
            self.heard[process] = self.successes(process);
            if self.processes[process].begin(now) {
                self.processes[process].go_on(now, 1).await;
                return true;
            }
        }
        false
    }

    /// The ids of which a process has heard SUCCESS.
    fn successes(&self, process: usize) -> std::collections::BTreeSet<String> {
        let polls = &self.processes[process].polls;
        let views = polls.targets().into_iter().filter_map(|t| polls.view(&t.pod_uid));
        let mut ids = std::collections::BTreeSet::new();
        for view in views {
            let ended = |id: &&super::world::Known| {
                view.task(&id.id)
                    .is_some_and(|t| t.announcement.status == TaskState::Success)
            };
            ids.extend(self.tasks.iter().filter(ended).map(|t| t.id.clone()));
        }
        ids
    }

    async fn move_request(&mut self, process: usize, faults: bool) {
        let Some((request, served)) =
            self.processes[process].parked(|p| (p.request.clone(), p.served.is_some()))
        else {
            return;
        };
        if !served {
            let to_indexer = request.path.starts_with("/indexers/");
            let fate = match (faults, to_indexer) {
                (false, _) => Fate::Served,
                (true, false) => self.dice.weighted(&FATES),
                (true, true) => self.dice.weighted(&FATES_OF_POSTS),
            };
            if fate != Fate::Served {
                self.seen.count("faults", &format!("{fate:?}"));
            }
            self.note(format!("{process}: {} {} {fate:?}", request.method, request.path));
            let error =
                |code: u16| refusal(code, if code == 409 { "Conflict" } else { "Failure" }, "a fault");
            let answer = match fate {
                Fate::Served => Outcome::Answered(self.serve(&request, Some(process))),
                Fate::LostAfter => {
                    self.serve(&request, Some(process));
                    Outcome::Lost
                }
                Fate::FailsAfter => {
                    self.serve(&request, Some(process));
                    Outcome::Answered(error(500))
                }
                Fate::LostBefore => Outcome::Lost,
                Fate::Late => {
                    self.flights.push(request);
                    Outcome::Lost
                }
                Fate::Fails(code) => Outcome::Answered(error(code)),
            };
            self.processes[process].parked(|p| p.served = Some(answer));
            if faults && self.dice.one_in(8) {
                return;
            }
        }
        if self.processes[process].stopped {
            return;
        }
        self.processes[process].answer();
        let now = self.now();
        self.processes[process].go_on(now, 1).await;
    }

    /// Serves a request, and looks at what it did.
    pub fn serve(&mut self, request: &Request, process: Option<usize>) -> Answer {
        if request.path.starts_with("/indexers/") {
            return self.serve_indexer(request);
        }
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let named = |kind: &str| {
            let at = parts.iter().position(|p| *p == kind)?;
            parts.get(at + 1).map(|name| (*name).to_owned())
        };
        if request.method == "DELETE"
            && let Some(pod) = named("pods")
        {
            let indexer = self.api.get(Kind::Pod, &pod).is_some_and(is_indexer);
            self.hold("no task deletes a shared Indexer", !indexer, || pod);
        }
        let task = named("peontasks").filter(|_| request.path.ends_with("/status"));
        let before = task.as_ref().and_then(|name| self.task(name));
        let answer = self.api.serve(request);
        self.seen.count(
            "requests",
            &format!("{} {} {}", request.method, plural(request), answer.0),
        );
        if let (Some(name), Some(before)) = (task, before) {
            self.hold("no verdict is changed", answer.0 != 422, || {
                format!("{name}: {}", request.body)
            });
            if answer.0 == 200
                && let Some(after) = self.task(&name)
            {
                self.writes += 1;
                self.check_status(&name, &before, &after, process);
            }
        }
        answer
    }

    /// Whether the task with this id claims the Indexer in this pod, and is not to be stopped.
    pub fn is_claimed(&self, id: &str, pod_uid: &str) -> bool {
        let Some(task) = self.task_of(id) else {
            return false;
        };
        let status = task.status.clone().unwrap_or_default();
        let run = status.run.filter(|run| run.kind == RunKind::Worker);
        let there = run.is_some_and(|run| run.pod_uid.as_deref() == Some(pod_uid));
        there && !task.is_final() && status.stop.is_none()
    }

    /// Whether the status of the task with this id names the Indexer in this pod.
    pub fn has_claim(&self, id: &str, pod_uid: &str) -> bool {
        let status = self.task_of(id).and_then(|task| task.status);
        let run = status.and_then(|status| status.run);
        run.is_some_and(|run| run.kind == RunKind::Worker && run.pod_uid.as_deref() == Some(pod_uid))
    }

    /// The tasks that need the Indexer in this pod.
    pub fn needing(&self, pod_uid: &str) -> Vec<String> {
        let claims = self.tasks.iter().map(|t| t.id.clone());
        claims.filter(|id| self.is_claimed(id, pod_uid)).collect()
    }

    fn check_status(&mut self, name: &str, before: &PeonTask, after: &PeonTask, process: Option<usize>) {
        let known = self.tasks.iter().find(|t| t.name == name);
        let id = known.expect("tasks are known").id.clone();
        let (old, new) = (
            before.status.clone().unwrap_or_default(),
            after.status.clone().unwrap_or_default(),
        );
        self.seen
            .count("reasons", &new.reason.clone().unwrap_or_default());
        let uid_of = |status: &crate::api::PeonTaskStatus| {
            let run = status.run.as_ref().filter(|run| run.kind == RunKind::Worker);
            run.and_then(|run| run.pod_uid.clone())
        };
        if let Some(uid) = uid_of(&new).filter(|uid| uid_of(&old).as_ref() != Some(uid)) {
            self.note(format!("   {id} claims {uid}"));
            self.seen.count("places", "a slot");
            let writer = process.map(|process| (process, self.generations[process]));
            let before = self.claims.insert((id.clone(), uid.clone()), writer);
            // A process that began later knows nothing of an object that is gone.
            let is_tolerated = self.recreated.contains(&id) && before.is_some_and(|by| by != writer);
            if is_tolerated {
                self.seen
                    .count("tolerated", "an id that came back after its object was gone");
            }
            self.hold(
                "an id never returns to an Indexer",
                before.is_none() || is_tolerated,
                || format!("{id}, {uid}"),
            );
        }
        if after.attempt() > before.attempt() {
            let lives = |j: &super::indexers::Jvm| j.live && j.run_of(&id).is_some_and(|run| !run.late);
            let dead = !self.jvms.iter().any(lives);
            self.seen.count(
                "attempts ended by",
                &new.attempts.last().map(|a| a.cause.clone()).unwrap_or_default(),
            );
            self.hold("a new attempt needs a dead JVM", dead, || id.clone());
        }
        let (complete, failed) = (
            is_true(&new.conditions, COMPLETE),
            is_true(&new.conditions, FAILED),
        );
        if (complete || failed) && !before.is_final() {
            self.judged(name, &id, complete, process);
            let reason = new.reason.unwrap_or_default();
            self.seen.count("verdicts", &reason);
        }
    }

    /// A task has its verdict.
    fn judged(&mut self, name: &str, id: &str, success: bool, process: Option<usize>) {
        self.note(format!("   the verdict of {id}: {success}"));
        let again = self
            .verdicts
            .insert(name.to_owned(), success.to_string())
            .is_some();
        self.hold("a task has one verdict", !again, || id.to_owned());
        let runs: Vec<_> = self.jvms.iter().filter_map(|j| j.run_of(id)).collect();
        let succeeded = runs.iter().any(|run| run.success == Some(true));
        let goes_on = runs.iter().any(|run| run.live && !run.late);
        self.hold("no success is invented", succeeded || !success, || id.to_owned());
        self.hold("no task runs on after its verdict", !goes_on, || id.to_owned());
        let heard = process.is_some_and(|process| self.heard[process].contains(id));
        // What was heard may be the end of the object before.
        let heard = heard && !self.recreated.contains(id);
        self.hold("no success is passed over", success || !heard, || id.to_owned());
        self.check_logs(id);
    }

    /// What is archived of a shared log is what the task wrote, however the bytes arrive.
    fn check_logs(&mut self, id: &str) {
        for at in 0..self.jvms.len() {
            let jvm = &self.jvms[at];
            let Some(run) = jvm.runs.get(id).filter(|_| !jvm.is_peon) else {
                continue;
            };
            let (log, own, pod_uid) = (jvm.log.clone(), run.own.clone(), jvm.pod_uid.clone());
            let read = if self.operator.planted == Planted::TakesNeighboursLines {
                let lines = log.split_inclusive('\n').filter(|line| line.contains(id));
                lines.collect::<String>()
            } else {
                self.read_log(id, pod_uid, &log)
            };
            self.hold(
                "a log has the lines of its task and no other's",
                read == own,
                || format!("{id}: {read}"),
            );
        }
    }

    fn read_log(&mut self, id: &str, pod_uid: String, log: &str) -> String {
        let step = 1 + self.dice.below(200) as usize;
        let mut cutter = LineCutter::new(TaskLines {
            task_id: id.to_owned(),
            pod_uid,
            since: at(0),
        });
        let mut read = Vec::new();
        for bytes in log.as_bytes().chunks(step) {
            read.extend(cutter.take(bytes));
        }
        read.extend(cutter.end());
        String::from_utf8_lossy(&read).into_owned()
    }

    /// A request of a process that died arrives after all, or never does.
    pub fn land(&mut self) {
        let Some(request) = self.flights.pop() else { return };
        if self.dice.one_in(2) {
            self.note(format!("late: {} {}", request.method, request.path));
            let is_ours = request.method == "DELETE" && request.path.contains("/pods/warm-");
            if is_ours {
                self.api.serve(&request);
            } else {
                self.serve(&request, None);
            }
        }
    }

    /// Changes the spec of a task, as its user does.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        self.api
            .update(Kind::Task, name, |task| change(&mut task["spec"]));
    }
}
