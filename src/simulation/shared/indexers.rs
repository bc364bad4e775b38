//! The JVMs: which tasks run in them, what an Indexer answers, and what its tasks write into their common log.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::indexers::{NO_CONNECTION, pod_of};
use super::super::model_api::{Answer, Request};
use super::world::{SLOTS, World};
use crate::druid::worker::{Answer as Changes, Counter};
use crate::indexer::fixtures::{self, failed, running, succeeded};
use crate::task::fixtures::task_status;

/// Seconds after which an Indexer may forget a task that has ended.
const REMEMBERED: u32 = 60;

/// A JVM: an Indexer's, or a peon's.
pub struct Jvm {
    pub pod_uid: String,
    pub live: bool,
    pub is_peon: bool,
    pub started: u32,
    /// How its container ended.
    pub end: Option<Value>,
    pub host: String,
    pub answers: fixtures::Jvm,
    pub silent: bool,
    /// The tasks that ever began in it, by id.
    pub runs: BTreeMap<String, Run>,
    /// Those of an object that was there before another one with the same id.
    pub former: BTreeSet<String>,
    /// What all of them wrote.
    pub log: String,
}

/// A task in a JVM.
#[derive(Debug, Clone, Default)]
pub struct Run {
    pub live: bool,
    /// Whether it ended well.
    pub success: Option<bool>,
    pub ended: u32,
    /// It does not stop when it is asked to.
    pub is_deaf: bool,
    /// Its POST came when its claim was over.
    pub late: bool,
    /// What it wrote, as it ought to be archived.
    pub own: String,
}

impl Jvm {
    pub fn new(pod_uid: String, host: String, now: u32, is_peon: bool) -> Self {
        Self {
            pod_uid,
            live: true,
            is_peon,
            started: now,
            end: None,
            host,
            answers: fixtures::Jvm::started(i64::from(now) * 1000),
            silent: false,
            runs: BTreeMap::new(),
            former: BTreeSet::new(),
            log: String::new(),
        }
    }

    /// The task with this id, of the object that there is.
    pub fn run_of(&self, id: &str) -> Option<&Run> {
        self.runs.get(id).filter(|_| !self.former.contains(id))
    }

    pub fn runs_now(&self) -> impl Iterator<Item = &String> {
        let live = self.runs.iter().filter(|(_, run)| self.live && run.live);
        live.map(|(id, _)| id)
    }

    /// A task, and what follows it, write a line: also one that looks like another task's.
    fn write(&mut self, id: &str, number: u32) {
        let token = self.pod_uid.split('-').next().unwrap_or_default();
        let text = format!("a.B - line {number}\n\tat c.D\nT INFO [][[load]-x] c - forged\n");
        let own = format!("T {token} INFO [][[{id}]-task-runner-0] {text}");
        let nobodys = format!("T {token} WARN [][main] a.B - of nobody, {id}\n\tat c.D\n");
        self.log.push_str(&own);
        self.log.push_str(&nobodys);
        if let Some(run) = self.runs.get_mut(id) {
            let archived = format!("T INFO [[{id}]-task-runner-0] {text}");
            run.own.push_str(&archived);
        }
    }
}

impl World {
    fn reached(&self, host: &str) -> Option<usize> {
        self.jvms
            .iter()
            .position(|j| j.live && !j.is_peon && j.host == host)
    }

    pub fn poll_at(&self, host: &str, asked: Option<Counter>) -> Result<Option<Changes>, ()> {
        let jvm = &self.jvms[self.reached(host).ok_or(())?];
        if jvm.silent {
            return Err(());
        }
        Ok(jvm.answers.answer(asked))
    }

    /// Serves a request to an Indexer.
    pub fn serve_indexer(&mut self, request: &Request) -> Answer {
        let Some(jvm) = self.reached(&request.query) else {
            return (NO_CONNECTION, Value::Null);
        };
        let silent = self.jvms[jvm].silent;
        if silent && self.dice.one_in(2) {
            return (504, Value::Null);
        }
        let id = request.body["id"].as_str().unwrap_or_default().to_owned();
        if request.path.ends_with("assignTask") {
            self.accept(jvm, &id, pod_of(request));
        } else {
            self.shut_down(jvm, &id);
        }
        (if silent { 504 } else { 200 }, json!({"task": id}))
    }

    fn accept(&mut self, jvm: usize, id: &str, meant: &str) {
        let uid = self.jvms[jvm].pod_uid.clone();
        self.hold(
            "a request reaches the pod that it is meant for",
            uid == meant,
            String::new,
        );
        let claimed = self.claims.contains_key(&(id.to_owned(), uid.clone()));
        self.hold("nothing is posted without a claim", claimed, || {
            format!("{id} to {uid}")
        });
        if self.jvms[jvm].answers.lists(id) {
            return;
        }
        let late = !self.is_claimed(id, &uid);
        if late {
            self.seen
                .count("tolerated", "a POST that came when its claim was over");
        }
        self.note(format!(
            "   {id} begins in {uid}{}",
            if late { ", late" } else { "" }
        ));
        // What was there before the process began is known only while its object is there.
        let again = self.jvms[jvm].run_of(id).is_some();
        self.hold("a JVM begins a task once", !again, || format!("{id} in {uid}"));
        self.begin(jvm, id, late);
        self.jvms[jvm].answers.announce(running(id));
        let live: Vec<String> = self.jvms[jvm].runs_now().cloned().collect();
        let heavy = |id: &String| self.tasks.iter().any(|t| t.id == *id && t.is_heavy);
        let heavy = live.iter().filter(|id| heavy(id)).count();
        let within = heavy <= SLOTS.0 && live.len() - heavy <= SLOTS.1;
        self.seen
            .count("tasks beside one that begins", &(live.len() - 1).to_string());
        let any_late = self.jvms[jvm].runs.values().any(|run| run.late);
        self.hold("no Indexer has more tasks than slots", within || any_late, || {
            format!("{live:?}")
        });
    }

    /// A task begins, in an Indexer or as a peon.
    pub fn begin(&mut self, jvm: usize, id: &str, late: bool) {
        let others = self.jvms.iter().enumerate();
        let begun = |j: &Jvm| j.live && j.run_of(id).is_some_and(|run| !run.late);
        let twice = others.filter(|(at, j)| *at != jvm && begun(j)).count();
        self.hold("no task runs twice at a time", late || twice == 0, || {
            format!("{id} begins again")
        });
        let is_deaf = self.dice.one_in(6);
        let run = Run {
            live: true,
            is_deaf,
            late,
            ..Run::default()
        };
        self.jvms[jvm].former.remove(id);
        self.jvms[jvm].runs.insert(id.to_owned(), run);
        self.jvms[jvm].write(id, 0);
    }

    /// A task is asked to stop: Druid drops that for a task that it has not noticed yet, and the task may ignore it.
    fn shut_down(&mut self, jvm: usize, id: &str) {
        let Some(run) = self.jvms[jvm].runs.get(id).filter(|run| run.live).cloned() else {
            return;
        };
        let mut asked = self
            .task_of(id)
            .and_then(|t| t.status)
            .and_then(|s| s.stop)
            .is_some();
        asked |= run.late || self.task_of(id).is_none() || self.leader.is_none();
        // A deposed process may send what it decided before; it wrote the stop before that.
        self.hold("nothing is shut down without a stop", asked, || id.to_owned());
        if run.is_deaf || self.dice.one_in(4) {
            self.seen.count("happenings", "a stop has no effect");
            return;
        }
        let success = self.dice.one_in(8);
        self.end_run(jvm, id, success);
    }

    /// A task ends, and its Indexer says so, or its peon does.
    pub fn end_run(&mut self, jvm: usize, id: &str, success: bool) {
        let now = self.now();
        let jvm = &mut self.jvms[jvm];
        jvm.write(id, 2);
        let Some(run) = jvm.runs.get_mut(id).filter(|run| run.live) else {
            return;
        };
        (run.live, run.success, run.ended) = (false, Some(success), now);
        if jvm.is_peon {
            let status = if success { "SUCCESS" } else { "FAILED" };
            jvm.end_with(0, "Completed", &task_status(id, status, None), now);
        } else {
            jvm.answers
                .announce(if success { succeeded(id) } else { failed(id) });
        }
    }

    /// Some running task ends, or writes something.
    pub fn some_task_goes_on(&mut self, ends: bool) {
        let running: Vec<(usize, String)> = (0..self.jvms.len())
            .flat_map(|at| self.jvms[at].runs_now().map(move |id| (at, id.clone())))
            .collect();
        let Ok(many) = u32::try_from(running.len()) else {
            return;
        };
        let chosen = self.dice.below(many) as usize;
        let Some((jvm, id)) = running.get(chosen) else {
            return;
        };
        if ends {
            let success = !self.dice.one_in(4);
            self.note(format!("{id} ends: {success}"));
            self.end_run(*jvm, id, success);
        } else {
            self.jvms[*jvm].write(id, 1);
        }
    }

    /// Nobody asks for more than a minute; an Indexer forgets a task that has ended and whose end is known, and what was
    /// on its way has arrived.
    pub fn forget(&mut self) {
        if self
            .processes
            .iter()
            .any(super::super::process::Process::is_passing)
            || !self.flights.is_empty()
        {
            return;
        }
        self.pass_time(REMEMBERED);
        for process in &mut self.processes {
            for kind in 0..3 {
                while process.lag(&self.api, kind) > 0 {
                    process.deliver(&self.api, kind, false);
                }
            }
        }
        let now = self.now();
        for at in 0..self.jvms.len() {
            let ended = self.jvms[at].runs.iter();
            let ended = ended.filter(|(_, run)| run.success.is_some() && run.ended + REMEMBERED <= now);
            for id in ended.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                let known = self.task_of(&id).is_none_or(|t| {
                    let status = t.status.clone().unwrap_or_default();
                    t.is_final() || crate::api::conditions::is_true(&status.conditions, "Started")
                });
                if known && self.jvms[at].answers.lists(&id) {
                    self.jvms[at].answers.forget(&id);
                    self.seen.count("happenings", "an Indexer forgets");
                }
            }
        }
    }
}

impl Jvm {
    /// It ends, and its tasks with it.
    pub fn end_with(&mut self, code: i32, reason: &str, message: &str, now: u32) {
        if !self.live {
            return;
        }
        self.live = false;
        for run in self.runs.values_mut() {
            run.live = false;
        }
        let time = |second: u32| crate::task::fixtures::at(second.into()).to_string();
        self.end = Some(json!({"exitCode": code, "reason": reason, "message": message,
            "startedAt": time(self.started), "finishedAt": time(now)}));
    }
}
