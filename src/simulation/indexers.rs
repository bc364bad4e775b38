//! Indexers: the JVMs in the pods of a pool, what they answer, and what becomes of requests to them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::cluster::End;
use super::model_api::{Answer, Request};
use super::world::World;
use crate::api::reason::Cause;
use crate::druid::worker::{Answer as Changes, Counter};
use crate::indexer::fixtures::{self, failed, running, succeeded};
use crate::task::fixtures::ID;

/// Tasks that were not given to the Indexer have this id.
pub const STRANGER: &str = "another id";
/// Seconds after which an Indexer may forget a task that has ended.
const REMEMBERED: u32 = 60;
/// Where there was no connection, in place of a status.
pub const NO_CONNECTION: u16 = 0;

/// What the JVM of an Indexer does.
pub struct Indexing {
    /// Address of its pod.
    pub host: String,
    answers: fixtures::Jvm,
    /// What another JVM answers that has its address.
    other: Option<fixtures::Jvm>,
    /// How often it has begun the task.
    pub begun: u32,
    /// Whether the task runs.
    pub runs: bool,
    ended: Option<u32>,
    /// It answers nothing.
    pub silent: bool,
    /// What runs there besides.
    pub strangers: BTreeSet<&'static str>,
}

impl Indexing {
    /// An Indexer that has just started.
    pub fn new(now: u32, host: String) -> Self {
        Self {
            host,
            answers: fixtures::Jvm::started(i64::from(now) * 1000),
            other: None,
            begun: 0,
            runs: false,
            ended: None,
            silent: false,
            strangers: BTreeSet::new(),
        }
    }

    /// Whether another JVM has its address.
    pub fn is_replaced(&self) -> bool {
        self.other.is_some()
    }
}

impl World {
    /// The living Indexer that is reached at this address.
    fn indexer_at(&self, host: &str) -> Option<usize> {
        let reached = |j: &super::world::Jvm| {
            let machine = &self.machines[j.machine];
            j.live && machine.on && machine.connected
        };
        let there = |j: &super::world::Jvm| j.indexing.as_ref().is_some_and(|i| i.host == host);
        self.jvms.iter().position(|j| reached(j) && there(j))
    }

    /// The lowest address that no pod has, and no JVM that is reached.
    pub fn free_host(&self) -> String {
        let used: BTreeSet<&str> = self
            .jvms
            .iter()
            .filter(|j| j.live)
            .filter_map(|j| j.indexing.as_ref().map(|i| i.host.as_str()))
            .collect();
        let hosts = (1..).map(|n: u32| format!("10.0.0.{n}"));
        let mut free = hosts.filter(|host| !used.contains(host.as_str()));
        free.next().unwrap_or_default()
    }

    /// What is answered to a poll at this address; an error if nothing is.
    pub fn poll_at(&self, host: &str, asked: Option<Counter>) -> Result<Option<Changes>, ()> {
        let jvm = self.indexer_at(host).ok_or(())?;
        let indexing = self.jvms[jvm].indexing.as_ref().ok_or(())?;
        if indexing.silent {
            return Err(());
        }
        let answers = indexing.other.as_ref().unwrap_or(&indexing.answers);
        Ok(answers.answer(asked))
    }

    /// Whether this address is another pod's by now.
    pub fn is_of_other_pod(&self, host: &str, pod_uid: &str) -> bool {
        self.indexer_at(host)
            .is_some_and(|jvm| self.jvms[jvm].pod_uid != pod_uid)
    }

    /// Serves a request to an Indexer: its path names the pod that is meant, its query the address.
    pub fn serve_indexer(&mut self, request: &Request) -> Answer {
        let Some(jvm) = self.indexer_at(&request.query) else {
            return (NO_CONNECTION, Value::Null);
        };
        let id = request.body["id"].as_str().unwrap_or_default().to_owned();
        let Some(indexing) = &self.jvms[jvm].indexing else {
            return (NO_CONNECTION, Value::Null);
        };
        let silent = indexing.silent;
        if silent && self.dice.one_in(2) {
            return (504, Value::Null);
        }
        if !self.jvms[jvm]
            .indexing
            .as_ref()
            .is_some_and(Indexing::is_replaced)
        {
            if request.path.ends_with("assignTask") {
                self.accept(jvm, pod_of(request));
            } else {
                self.shut_down(jvm, &id);
            }
        }
        (if silent { 504 } else { 200 }, json!({"task": id}))
    }

    /// A POST of the task has arrived that was meant for this pod.
    fn accept(&mut self, jvm: usize, meant: &str) {
        let uid = self.jvms[jvm].pod_uid.clone();
        let known = self.claims.has(meant);
        self.hold("no POST is accepted without a claim", known, || {
            format!("{meant} was never claimed")
        });
        let claimed = self.claimed();
        let Some(indexing) = &mut self.jvms[jvm].indexing else {
            return;
        };
        if indexing.answers.lists(ID) {
            return;
        }
        indexing.begun += 1;
        indexing.runs = true;
        indexing.ended = None;
        indexing.answers.announce(running(ID));
        let begun = indexing.begun;
        self.note(format!("   the task begins in {uid}"));
        let late = claimed.as_ref() != Some(&uid);
        if late {
            self.seen
                .count("tolerated", "a POST that came when its claim was over");
        }
        self.jvms[jvm].late |= late;
        if let Some(truth) = self.truths.get_mut(&uid) {
            truth.began = true;
            truth.late |= late;
        }
        self.hold("a JVM begins a task once", begun == 1, || {
            format!("{uid} began it {begun} times")
        });
        self.check_started(jvm);
        self.check_lives();
    }

    /// A task is asked to stop. Druid drops that for a task that it has not noticed yet.
    fn shut_down(&mut self, jvm: usize, id: &str) {
        if id != ID {
            if let Some(indexing) = &mut self.jvms[jvm].indexing
                && indexing.strangers.remove(id)
            {
                indexing.answers.announce(failed(id));
            }
            return;
        }
        let dropped = self.dice.one_in(4);
        let runs = self.jvms[jvm].indexing.as_ref().is_some_and(|i| i.runs);
        if !runs || dropped {
            return;
        }
        let uid = self.jvms[jvm].pod_uid.clone();
        // One that was on its way may stop what was given to the Indexer later.
        let stopped = self.claimed().as_ref() == Some(&uid) && self.stop_is_recorded();
        let success = self.dice.one_in(8);
        self.end_task(jvm, success, !stopped);
    }

    /// The task in an Indexer ends. A failure may be taken for the task's own unless the operator asked for it.
    pub fn end_task(&mut self, jvm: usize, success: bool, own: bool) {
        let now = self.now();
        let uid = self.jvms[jvm].pod_uid.clone();
        let Some(indexing) = self.jvms[jvm].indexing.as_mut().filter(|i| i.runs) else {
            return;
        };
        (indexing.runs, indexing.ended) = (false, Some(now));
        indexing
            .answers
            .announce(if success { succeeded(ID) } else { failed(ID) });
        if success {
            if let Some(truth) = self.truths.get_mut(&uid) {
                truth.success = true;
            }
        } else if own {
            self.allow(&uid, Cause::TaskFailed);
        }
    }

    /// The JVM of an Indexer ends, or its task does.
    pub fn end_indexer(&mut self, jvm: usize, how: End) {
        match how {
            End::Success | End::Failed => self.end_task(jvm, matches!(how, End::Success), true),
            End::SuccessThenKilled => {
                self.end_task(jvm, true, true);
                self.end_jvm(jvm, End::OutOfMemory);
            }
            End::OutOfMemory | End::JavaOutOfMemory | End::NoStatus | End::Terminated => {
                self.end_jvm(jvm, how);
            }
        }
    }

    /// The task that runs in an Indexer ends.
    pub fn some_task_ends(&mut self) {
        let runs = |j: &super::world::Jvm| j.live && j.indexing.as_ref().is_some_and(|i| i.runs);
        if let Some(jvm) = self.jvms.iter().position(runs) {
            let success = !self.dice.one_in(3);
            self.end_task(jvm, success, true);
        }
    }

    /// The Indexer that has the task, or else one of them.
    fn some_indexer(&mut self) -> Option<usize> {
        let lives = |j: &super::world::Jvm| j.live && j.indexing.is_some();
        let with = self.jvms.iter().position(|j| lives(j) && j.has_task());
        let any: Vec<usize> = (0..self.jvms.len()).filter(|at| lives(&self.jvms[*at])).collect();
        if any.is_empty() {
            return None;
        }
        let random = self.dice.pick(&any);
        Some(with.filter(|_| !self.dice.one_in(4)).unwrap_or(random))
    }

    /// Nobody asks an Indexer for more than a minute, in which its task ends and is forgotten. It asks its overlord first,
    /// which holds the task until the operator has told its end, or for as long as it is not known to run; and what was on
    /// its way has arrived, to the processes as well.
    pub fn forget(&mut self) {
        let Some(jvm) = self.some_indexer() else { return };
        let uid = self.jvms[jvm].pod_uid.clone();
        let host = self.jvms[jvm].indexing.as_ref().map(|i| i.host.clone());
        let passing = self.processes.iter().any(super::process::Process::is_passing);
        let known = self.is_final() || self.is_announced(&uid);
        if !known || passing || self.posts_fly_to(&host.unwrap_or_default()) {
            return;
        }
        let success = self.dice.one_in(2);
        self.end_task(jvm, success, true);
        self.pass_time(REMEMBERED);
        for process in &mut self.processes {
            while process.lag(&self.api, 0) > 0 {
                process.deliver(&self.api, 0, false);
            }
        }
        let now = self.now();
        let Some(indexing) = self.jvms[jvm].indexing.as_mut() else {
            return;
        };
        let ended = indexing.ended.is_some_and(|ended| ended + REMEMBERED <= now);
        if !ended || !indexing.answers.lists(ID) {
            return;
        }
        indexing.answers.forget(ID);
        self.note(format!("{uid} forgets the task"));
        self.seen.count("happenings in a pool", "an Indexer forgets");
        self.allow(&uid, Cause::NoVerdict);
    }

    fn posts_fly_to(&self, host: &str) -> bool {
        let to = |r: &Request| r.path.ends_with("assignTask") && r.query == host;
        self.flights.iter().any(|(r, _)| to(r))
    }

    /// An Indexer falls silent, or answers again.
    pub fn change_silence(&mut self) {
        let jvm = self.some_indexer();
        let Some(indexing) = jvm.and_then(|jvm| self.jvms[jvm].indexing.as_mut()) else {
            return;
        };
        indexing.silent = !indexing.silent;
        self.seen.count("happenings in a pool", "silence begins or ends");
    }

    /// Another JVM answers at the address of an Indexer, which lives on.
    pub fn take_address(&mut self) {
        let now = self.now();
        let Some(jvm) = self.some_indexer() else { return };
        let uid = self.jvms[jvm].pod_uid.clone();
        if let Some(indexing) = self.jvms[jvm].indexing.as_mut().filter(|i| i.other.is_none()) {
            indexing.other = Some(fixtures::Jvm::started(i64::from(now) * 1000 + 7));
            self.note(format!("another JVM answers at the address of {uid}"));
            self.seen
                .count("happenings in a pool", "another JVM at an address");
            self.allow(&uid, Cause::NoVerdict);
        }
    }

    /// A POST of another task arrives, from a process that no longer leads.
    pub fn bring_stranger(&mut self) {
        let jvm = self.some_indexer();
        let Some(indexing) = jvm.and_then(|jvm| self.jvms[jvm].indexing.as_mut()) else {
            return;
        };
        if indexing.answers.lists(STRANGER) || indexing.other.is_some() {
            return;
        }
        indexing.strangers.insert(STRANGER);
        indexing.answers.announce(running(STRANGER));
        self.seen.count("happenings in a pool", "a stranger comes");
    }

    /// All Indexers answer, and two that had one address have two: the kubelet ends the first.
    pub fn mend_indexers(&mut self) {
        for at in 0..self.jvms.len() {
            let Some(indexing) = &mut self.jvms[at].indexing else {
                continue;
            };
            indexing.silent = false;
            if indexing.other.is_some() {
                self.kill(at);
            }
        }
    }
}

/// Uid of the pod that a request to an Indexer is meant for.
pub fn pod_of(request: &Request) -> &str {
    request.path.split('/').nth(2).unwrap_or_default()
}
