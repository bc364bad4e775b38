//! Random histories of two processes under one identity: assignments that come twice or whose answers are lost, watches
//! that lag and break, lists that are on their way while things change, deletions, shutdowns, restarts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::druid::worker::TaskState;
use crate::middle_manager::object_fixtures::{FIRST, at, failed, indexing, running, succeeded, with_log};

/// Tasks that a history is about.
const IDS: usize = 4;

#[path = "server_tests.rs"]
mod server;

use self::server::{List, Server, check_locations, name, read};

#[derive(Debug, Clone, Copy)]
enum Step {
    Assign { process: usize, id: usize },
    AnswerIsLost { process: usize },
    Acknowledge { process: usize },
    Watch { process: usize, many: usize },
    WatchBreaks { process: usize },
    ListIsAskedFor { process: usize },
    ListComes { process: usize },
    Runs { id: usize },
    InIndexer { id: usize, runs: bool },
    Retries { id: usize },
    Ends { id: usize, success: bool, log: bool },
    LogIsArchived { id: usize },
    Deleted { id: usize },
    LabelIsTaken { id: usize },
    Verify { process: usize },
    Shutdown { process: usize, id: usize },
    OverlordForgets { process: usize },
    Restart { process: usize },
    TimePasses { minutes: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (process, id) = (0..2_usize, 0..IDS);
    let step = prop_oneof![
        4 => (process.clone(), id.clone()).prop_map(|(process, id)| Step::Assign { process, id }),
        1 => process.clone().prop_map(|process| Step::AnswerIsLost { process }),
        4 => process.clone().prop_map(|process| Step::Acknowledge { process }),
        6 => (process.clone(), 1..4_usize).prop_map(|(process, many)| Step::Watch { process, many }),
        1 => process.clone().prop_map(|process| Step::WatchBreaks { process }),
        2 => process.clone().prop_map(|process| Step::ListIsAskedFor { process }),
        3 => process.clone().prop_map(|process| Step::ListComes { process }),
        2 => id.clone().prop_map(|id| Step::Runs { id }),
        3 => (id.clone(), any::<bool>()).prop_map(|(id, runs)| Step::InIndexer { id, runs }),
        1 => id.clone().prop_map(|id| Step::Retries { id }),
        2 => (id.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(id, success, log)| Step::Ends { id, success, log }),
        1 => id.clone().prop_map(|id| Step::LogIsArchived { id }),
        1 => id.clone().prop_map(|id| Step::Deleted { id }),
        1 => id.clone().prop_map(|id| Step::LabelIsTaken { id }),
        3 => process.clone().prop_map(|process| Step::Verify { process }),
        2 => (process.clone(), id).prop_map(|(process, id)| Step::Shutdown { process, id }),
        2 => process.clone().prop_map(|process| Step::OverlordForgets { process }),
        1 => process.prop_map(|process| Step::Restart { process }),
        1 => (1..90_i64).prop_map(|minutes| Step::TimePasses { minutes }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A process, and what was told on its line.
#[derive(Default)]
struct Process {
    known: Registry,
    cursor: usize,
    /// Answers to creations that are on their way.
    answers: Vec<Seen>,
    /// Lists that are on their way.
    lists: Vec<List>,
    /// What was acknowledged and not removed since.
    acknowledged: BTreeSet<String>,
    /// When shutdowns were ordered of tasks that had not ended.
    ordered: BTreeMap<usize, i64>,
    line: BTreeMap<String, TaskState>,
    /// Ids that were forgotten without a word in their PeonTask, which seemed to be gone: its label was put back since.
    unsaid: BTreeSet<String>,
}

struct World {
    server: Server,
    processes: [Process; 2],
    now: i64,
}

impl World {
    fn now(&self) -> Timestamp {
        at(self.now)
    }

    fn tell(
        &mut self,
        process: usize,
        news: impl FnOnce(&mut Registry, Timestamp) -> Vec<HistoryItem>,
        forgets: bool,
    ) {
        let now = self.now();
        let teller = &mut self.processes[process];
        for next in news(&mut teller.known, now) {
            match next {
                HistoryItem::Announce(identity, announcement) => {
                    assert_eq!(identity, FIRST);
                    let id = announcement.id.clone();
                    let number: usize = id.trim_start_matches("task-").parse().unwrap();
                    let before = teller.line.insert(id.clone(), announcement.status);
                    assert!(
                        before.is_none_or(|b| b == TaskState::Running),
                        "{id} had ended with {before:?} and is {:?}",
                        announcement.status
                    );
                    let host = &announcement.task_location.host;
                    let ran = |host: &String| self.server.locations.contains(host);
                    assert!(host.as_ref().is_none_or(ran), "{id} did not run at {host:?}");
                    let message = announcement.task_status.error_msg.as_deref();
                    assert!(
                        message != Some(DELETED) || self.server.deleted.iter().any(|(d, _)| *d == number),
                        "{id} was not deleted"
                    );
                    assert!(
                        announcement.status != TaskState::Success || self.server.succeeded.contains(&number),
                        "{id} never succeeded"
                    );
                }
                HistoryItem::Remove(_, id) => {
                    assert!(forgets, "{id} is removed before the overlord has forgotten it");
                    assert_ne!(teller.line.remove(&id), Some(TaskState::Running), "{id} runs");
                    teller.acknowledged.remove(&id);
                }
                HistoryItem::Clash { .. } => {}
            }
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.now();
        match step {
            Step::Assign { process, id } => match self.processes[process].known.before(FIRST, &name(id), now)
            {
                Before::New => {
                    let said = self.processes[process].line.get(&name(id));
                    assert!(
                        said.is_none_or(|s| *s == TaskState::Running),
                        "task-{id} had ended"
                    );
                    let answer = self.server.create(id, now);
                    self.processes[process].answers.push(answer);
                }
                Before::Taken => {
                    self.processes[process].acknowledged.insert(name(id));
                }
                Before::ShutDown => {
                    self.tell(
                        process,
                        |known, now| known.fail(FIRST, &indexing(&name(id)), SHUT_DOWN, now),
                        false,
                    );
                    self.processes[process].acknowledged.insert(name(id));
                }
            },
            Step::AnswerIsLost { process } => {
                self.processes[process].answers.pop();
            }
            Step::Acknowledge { process } => {
                if !self.processes[process].answers.is_empty() {
                    let seen = self.processes[process].answers.remove(0);
                    let (id, uid) = (seen.facts.id.clone(), seen.uid.clone());
                    self.tell(process, |known, now| known.acknowledge(seen, now), false);
                    // What the overlord heard the end of, by the other process, needs no announcement.
                    let process = &mut self.processes[process];
                    if !process.known.objects.get(&uid).is_some_and(Object::is_over) {
                        process.acknowledged.insert(id);
                    }
                }
            }
            Step::Watch { process, many } => self.watch(process, many),
            Step::WatchBreaks { process } => self.begin_anew(process),
            Step::ListIsAskedFor { process } => {
                let list = self.server.list();
                self.processes[process].lists.push(list);
            }
            Step::ListComes { process } => {
                if !self.processes[process].lists.is_empty() {
                    let list = self.processes[process].lists.remove(0);
                    self.take(process, &list);
                }
            }
            Step::Runs { id } => {
                if !self.server.has_verdict(id) {
                    self.server.change(id, |t| t["status"] = running());
                }
            }
            Step::InIndexer { id, runs } => self.server.put_in_indexer(id, runs),
            Step::Retries { id } => self.server.retry(id),
            Step::Ends { id, success, log } => {
                if !self.server.has_verdict(id) && self.server.tasks.contains_key(&id) {
                    if success {
                        self.server.succeeded.insert(id);
                    }
                    let mut status = if success { succeeded() } else { failed() };
                    status["completionTime"] = json!(now);
                    let status = with_log(status, log, "Collecting");
                    self.server.end(id, status);
                }
            }
            Step::LogIsArchived { id } => {
                if self.server.has_verdict(id) {
                    self.server.change(id, |t| {
                        t["status"]["conditions"][1]["status"] = json!("True");
                    });
                }
            }
            Step::Deleted { id } => self.server.delete(id),
            Step::LabelIsTaken { id } => self.server.take_label(id),
            Step::Verify { process } => self.verify(process),
            Step::Shutdown { process, id } => self.shut_down(process, id),
            Step::OverlordForgets { process } => self.forget(process),
            Step::Restart { process } => {
                self.processes[process] = Process::default();
                self.begin_anew(process);
            }
            Step::TimePasses { minutes } => self.pass(minutes),
        }
    }

    fn pass(&mut self, minutes: i64) {
        // No answer is waited for as long as a minute, and nothing is on its way for ten.
        for process in 0..2 {
            while !self.processes[process].answers.is_empty() {
                self.step(Step::Acknowledge { process });
            }
        }
        for process in (0..2).filter(|_| minutes >= 10) {
            self.processes[process].lists.clear();
            self.watch(process, usize::MAX);
        }
        // And what is in doubt is looked at.
        for process in (0..2).filter(|_| minutes >= 10) {
            self.verify(process);
        }
        for process in (0..2).filter(|_| minutes >= 10) {
            self.watch(process, usize::MAX);
        }
        self.now += 60 * minutes;
        for process in 0..2 {
            self.tell(process, Registry::due, false);
        }
    }

    fn watch(&mut self, process: usize, many: usize) {
        for _ in 0..many {
            let Some((is_gone, seen)) = self.server.log.get(self.processes[process].cursor).cloned() else {
                return;
            };
            self.processes[process].cursor += 1;
            let uid = seen.uid.clone();
            self.tell(
                process,
                |known, now| {
                    if is_gone {
                        known.vanished(&uid, Some(seen), now)
                    } else {
                        known.see(seen, now)
                    }
                },
                false,
            );
        }
    }

    /// The watch begins with a list; what went meanwhile is told by nobody.
    fn begin_anew(&mut self, process: usize) {
        self.processes[process].known.list_begins();
        let (list, _) = self.server.list();
        self.processes[process].cursor = self.server.log.len();
        for seen in list.into_iter().filter_map(|(_, seen)| seen) {
            self.tell(process, |known, now| known.see(seen, now), false);
        }
        if self.processes[process].known.list_ends() {
            let list = self.server.list();
            self.take(process, &list);
        }
    }

    /// A list comes: what is said then is the complete state.
    fn take(&mut self, process: usize, list: &List) {
        let (items, version) = list.clone();
        self.tell(process, |known, now| known.listed(items, version, now), false);
        self.check(process, list);
    }

    fn check(&self, process: usize, list: &List) {
        let told = &self.processes[process];
        let said: BTreeMap<String, TaskState> =
            told.known.said(FIRST).map(|a| (a.id.clone(), a.status)).collect();
        assert_eq!(said, told.line);
        for id in &told.acknowledged {
            assert!(said.contains_key(id), "{id} was acknowledged and is missing");
        }
        // One that was overtaken by a newer one says nothing of what exists.
        let is_newest = told.known.floor == list.1;
        check_locations(&told.known, list);
        for seen in list
            .0
            .iter()
            .filter_map(|(_, seen)| seen.as_ref().filter(|_| is_newest))
        {
            let over = seen.forgotten
                || told.unsaid.contains(&seen.facts.id)
                || told.known.departed_for_test(&seen.uid)
                || told
                    .known
                    .objects
                    .get(&seen.uid)
                    .is_some_and(|o| o.seen.forgotten);
            assert!(
                over || said.contains_key(&seen.facts.id),
                "{} is in the list and missing",
                seen.facts.id
            );
        }
        for (id, state) in &said {
            let number: usize = id.trim_start_matches("task-").parse().unwrap();
            let went = self
                .server
                .deleted
                .iter()
                .any(|(d, v)| *d == number && Some(*v) > list.1);
            let doubted = told.known.doubts().iter().any(|d| d.facts.id == *id);
            assert!(
                *state != TaskState::Running || self.server.tasks.contains_key(&number) || went || doubted,
                "{id} was deleted before the list and runs"
            );
        }
    }

    /// Looks at what is in doubt, past all caches, and puts labels back.
    fn verify(&mut self, process: usize) {
        for doubt in self.processes[process].known.doubts() {
            let of = |task: &Value| task["metadata"]["uid"] == doubt.target.uid.as_str();
            let found = self.server.tasks.iter().find(|(_, t)| of(t)).map(|(id, _)| *id);
            match found {
                None => self.tell(
                    process,
                    |known, now| known.gone(&doubt.target.uid, None, now),
                    false,
                ),
                Some(id) => {
                    self.server.unlabelled.remove(&id);
                    let seen = self.server.change(id, |_| {});
                    self.tell(
                        process,
                        |known, now| {
                            known.refute(&doubt);
                            seen.map_or_else(Vec::new, |seen| known.see(seen, now))
                        },
                        false,
                    );
                }
            }
        }
    }

    fn shut_down(&mut self, process: usize, id: usize) {
        let now = self.now();
        let mut order = self.processes[process].known.order(FIRST, &name(id), now);
        if order == Order::Unknown {
            let list = self.server.list();
            self.take(process, &list);
            order = self.processes[process].known.order(FIRST, &name(id), now);
        }
        if order != Order::Nothing {
            self.processes[process].ordered.insert(id, self.now);
        }
        if let Order::Cancel(target) = order {
            self.cancel(process, &target);
        }
    }

    fn cancel(&mut self, process: usize, target: &Target) {
        match self.server.patch(target, |t| t["spec"]["cancel"] = json!(true)) {
            Some(seen) => self.tell(process, |known, now| known.see(seen, now), false),
            None => self.tell(process, |known, now| known.gone(&target.uid, None, now), false),
        }
    }

    fn forget(&mut self, process: usize) {
        for id in self.processes[process].known.ended(FIRST) {
            if let Some(target) = self.processes[process].known.target(&id) {
                let key = "peon.dev/overlord";
                match self.server.patch(&target, |t| {
                    t["metadata"]["annotations"][key] = json!("forgotten");
                }) {
                    Some(seen) => self.tell(process, |known, now| known.see(seen, now), false),
                    None => self.tell(process, |known, now| known.gone(&target.uid, None, now), false),
                }
            } else {
                self.processes[process].unsaid.insert(id.clone());
            }
            // No answer to its creation takes as long as its life.
            self.processes[process].answers.retain(|seen| seen.facts.id != id);
            // What comes of it later is another life.
            let ordered = &mut self.processes[process].ordered;
            ordered.retain(|number, _| name(*number) != id);
            self.tell(process, |known, now| known.forget(&id, now), true);
        }
    }

    /// Everything that is on its way arrives.
    fn come_to_rest(&mut self) {
        for process in 0..2 {
            while !self.processes[process].answers.is_empty() {
                self.step(Step::Acknowledge { process });
            }
            while !self.processes[process].lists.is_empty() {
                self.step(Step::ListComes { process });
            }
        }
        // What one puts back the other sees.
        for process in [0, 1, 0, 1] {
            let list = self.server.list();
            self.take(process, &list);
            self.verify(process);
            self.watch(process, usize::MAX);
            for target in self.processes[process].known.to_cancel() {
                self.cancel(process, &target);
            }
        }
        self.now += 3600;
        for process in 0..2 {
            self.watch(process, usize::MAX);
            self.tell(process, Registry::due, false);
            let list = self.server.list();
            self.take(process, &list);
            self.verify(process);
            assert!(!self.processes[process].known.is_in_doubt());
            let rest = &self.processes[process];
            assert!(rest.known.late.is_empty());
            for (id, task) in &self.server.tasks {
                let seen = read(task);
                let bound = rest.known.tasks.get(&seen.facts.id);
                let counts = bound.is_some_and(|t| t.uid.as_ref() == Some(&seen.uid));
                if counts {
                    let ended = rest.line.get(&seen.facts.id) != Some(&TaskState::Running);
                    assert_eq!(ended, self.server.has_verdict(*id), "{}", seen.facts.id);
                    // An order stands for an hour, and a watch lags behind for minutes.
                    let stands = |ordered: &i64| seen.created.is_some_and(|c| c.as_second() < ordered + 3000);
                    let ordered = rest.ordered.get(id).is_some_and(stands);
                    assert!(
                        seen.cancel || ended || !ordered || self.server.relabelled.contains(id),
                        "{} was shut down and runs",
                        seen.facts.id
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_acknowledged_is_lost_and_no_end_is_taken_back(steps in steps()) {
        let mut world = World {
            server: Server::default(),
            processes: [Process::default(), Process::default()],
            now: 1_000,
        };
        for step in steps {
            world.step(step);
        }
        world.come_to_rest();
    }
}
