//! Random histories: the plan runs a task against a model of the API server, while pods live and die, watches lag
//! and the operator crashes.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::json;

use super::*;
use crate::api::PeonTask;
use crate::api::conditions::{COMPLETE, FAILED, READY, accepted};
use crate::task::evidence::{Disruption, Terminated};
use crate::task::fixtures::{ID, POD, TASK_UID, at, noop, snapshot, task_status};
use crate::task::snapshot::Template;

/// Something that happens.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// The operator passes over the task.
    Pass(Fate),
    /// The operator's watch of pods delivers one event.
    Deliver,
    /// The watch broke and lists anew: what happened meanwhile is not told.
    Relist,
    Seconds(u8),
    PodStarts,
    PodEnds(End),
    /// Somebody asks for the pod's deletion, or drains its node.
    PodDeletion {
        drain: bool,
    },
    PodEvicted,
    /// The pod's object goes.
    PodRemoved,
    Quota(bool),
    Template(bool),
}

/// How a pass ends.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Whole,
    /// The process dies after so many actions, before it learns of the last one's outcome.
    DiesAfter(u8),
    /// The process dies before it writes the status.
    DiesBeforeStatus,
    /// Somebody else wrote the task: the status is not written.
    Conflict,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Success,
    SuccessThenKilled,
    Failed,
    OutOfMemory,
    NoStatus,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::{
        Deliver, Pass, PodDeletion, PodEnds, PodEvicted, PodRemoved, PodStarts, Quota, Relist, Seconds,
    };
    let fate = prop_oneof![
        6 => Just(Fate::Whole),
        1 => (0_u8..5).prop_map(Fate::DiesAfter),
        1 => Just(Fate::DiesBeforeStatus),
        1 => Just(Fate::Conflict),
    ];
    let end = prop_oneof![
        2 => Just(End::Success),
        1 => Just(End::SuccessThenKilled),
        1 => Just(End::Failed),
        1 => Just(End::OutOfMemory),
        1 => Just(End::NoStatus),
    ];
    prop_oneof![
        8 => fate.prop_map(Pass),
        6 => Just(Deliver),
        1 => Just(Relist),
        3 => (1_u8..30).prop_map(Seconds),
        3 => Just(PodStarts),
        2 => end.prop_map(PodEnds),
        1 => any::<bool>().prop_map(|drain| PodDeletion { drain }),
        1 => Just(PodEvicted),
        1 => Just(PodRemoved),
        1 => any::<bool>().prop_map(Quota),
        2 => prop::bool::weighted(0.8).prop_map(Happening::Template),
    ]
}

/// What the watch has yet to deliver.
enum Event {
    Applied(Evidence),
    Deleted(Evidence),
}

#[allow(clippy::struct_excessive_bools)] // Each may be so or not, whatever the others are.
struct World {
    now: i64,
    // The API server.
    task: PeonTask,
    config_map: bool,
    pod: Option<Evidence>,
    quota: bool,
    template: bool,
    // What is true whoever knows it.
    created: u32,
    succeeded: bool,
    // The operator's process.
    cached: Option<Evidence>,
    departed: Option<Evidence>,
    events: VecDeque<Event>,
    held_until: i64,
}

impl World {
    fn new() -> Self {
        Self {
            now: 1000,
            task: noop(),
            config_map: false,
            pod: None,
            quota: false,
            template: false,
            created: 0,
            succeeded: false,
            cached: None,
            departed: None,
            events: VecDeque::new(),
            held_until: 0,
        }
    }

    fn happens(&mut self, happening: Happening, removed_early: bool) {
        match happening {
            Happening::Pass(fate) => self.pass(fate),
            Happening::Deliver => self.deliver(),
            Happening::Relist => {
                self.events.clear();
                self.cached.clone_from(&self.pod);
            }
            Happening::Seconds(seconds) => self.now += i64::from(seconds),
            Happening::Quota(on) => self.quota = on,
            Happening::Template(there) => self.template = there,
            Happening::PodRemoved => {
                let recorded = self.recorded();
                let known = |p: &Evidence| removed_early || recorded.as_ref() == Some(&p.pod_uid);
                if self.pod.as_ref().is_some_and(known)
                    && let Some(pod) = self.pod.take()
                {
                    self.events.push_back(Event::Deleted(pod));
                }
            }
            Happening::PodStarts
            | Happening::PodEnds(_)
            | Happening::PodDeletion { .. }
            | Happening::PodEvicted => {
                self.pod_changes(happening);
            }
        }
    }

    fn pod_changes(&mut self, happening: Happening) {
        let now = at(self.now);
        let Some(mut pod) = self.pod.clone().filter(Evidence::may_live) else {
            return;
        };
        match happening {
            Happening::PodStarts => {
                pod.node = Some("node".into());
                pod.phase = "Running".into();
                pod.peon = Container::Running { started: Some(now) };
            }
            Happening::PodEnds(end) if matches!(pod.peon, Container::Running { .. }) => {
                let (exit_code, reason, message) = match end {
                    End::Success => (0, "Completed", task_status(ID, "SUCCESS", None)),
                    End::SuccessThenKilled => (137, "OOMKilled", task_status(ID, "SUCCESS", None)),
                    End::Failed => (0, "Completed", task_status(ID, "FAILED", Some("m"))),
                    End::OutOfMemory => (137, "OOMKilled", String::new()),
                    End::NoStatus => (0, "Completed", String::new()),
                };
                self.succeeded |= message.contains("SUCCESS");
                pod.phase = if exit_code == 0 { "Succeeded" } else { "Failed" }.into();
                pod.peon = Container::Terminated(Terminated {
                    exit_code,
                    reason: reason.into(),
                    message,
                    started: Some(now),
                    finished: Some(now),
                });
            }
            Happening::PodDeletion { drain } => {
                pod.deletion_requested.get_or_insert(now);
                pod.disruption = drain.then(|| Disruption {
                    reason: "EvictionByEvictionAPI".into(),
                    message: String::new(),
                    since: now,
                });
            }
            Happening::PodEvicted => {
                pod.phase = "Failed".into();
                pod.reason = Some("Evicted".into());
                pod.peon = Container::Unknown;
            }
            _ => return,
        }
        self.events.push_back(Event::Applied(pod.clone()));
        self.pod = Some(pod);
    }

    fn recorded(&self) -> Option<String> {
        self.task.status.as_ref().and_then(|s| s.pod_uid.clone())
    }

    fn deliver(&mut self) {
        match self.events.pop_front() {
            Some(Event::Applied(pod)) => self.cached = Some(pod),
            Some(Event::Deleted(pod)) => {
                self.cached = None;
                self.departed = Some(pod);
            }
            None => {}
        }
    }

    /// The process dies and another one starts, with fresh caches and no memory.
    fn restart(&mut self) {
        self.events.clear();
        self.cached.clone_from(&self.pod);
        self.departed = None;
        self.held_until = 0;
    }

    fn pass(&mut self, fate: Fate) {
        let held = self.held_until - self.now;
        let mut known = Snapshot {
            cached: self.cached.clone(),
            departed: self.departed.clone(),
            held: u64::try_from(held)
                .ok()
                .filter(|h| *h > 0)
                .map(Duration::from_secs),
            ..snapshot(self.task.clone())
        };
        if !self.template {
            known.template = Template::Missing {
                name: "default".into(),
            };
        }
        for actions in 0_u8..8 {
            if matches!(fate, Fate::DiesAfter(most) if most == actions) {
                return self.restart();
            }
            match plan(&known, at(self.now)) {
                Step::Act(action) => self.perform(action, &mut known),
                Step::Settle(settlement) => return self.settle(*settlement, fate),
            }
        }
        panic!("does not settle: {known:?}");
    }

    fn perform(&mut self, action: Action, known: &mut Snapshot) {
        let created = |uid: &str| Creation::Created { uid: uid.into() };
        let over_quota = Creation::Refused(Refusal::Quota("exceeded quota".into()));
        match action {
            Action::ReadPayload => panic!("the task stands in its spec"),
            Action::CreateConfigMap(_) => {
                let outcome = match (self.config_map, self.quota) {
                    (true, _) => Creation::Exists,
                    (false, true) => over_quota,
                    (false, false) => created("map"),
                };
                self.config_map |= outcome == created("map");
                known.claim = Some(outcome);
            }
            Action::CreatePod(_) => {
                let outcome = match (&self.pod, self.quota) {
                    (Some(_), _) => Creation::Exists,
                    (None, true) => over_quota,
                    (None, false) => self.create_pod(),
                };
                known.creation = Some(outcome);
            }
            Action::LookLive { name } => {
                assert_eq!(name, POD);
                known.live = Some(Live {
                    config_map_owner: self.config_map.then(|| TASK_UID.into()),
                    pod: self.pod.clone(),
                    task_version: None,
                });
            }
            Action::ReadWarnings { .. } => known.warnings = Some(Vec::new()),
            Action::DeletePod { uid, .. } => {
                known.deleted = true;
                if let Some(pod) = self.pod.as_mut().filter(|p| p.pod_uid == uid) {
                    assert!(
                        self.task.is_final(),
                        "a pod of a task without verdict was deleted"
                    );
                    assert!(pod.may_live(), "a pod that had ended was deleted");
                    pod.deletion_requested.get_or_insert(at(self.now));
                    self.events.push_back(Event::Applied(pod.clone()));
                }
            }
        }
    }

    fn create_pod(&mut self) -> Creation {
        assert!(self.config_map, "a pod without a claim");
        assert!(!self.task.is_final(), "a pod after the verdict");
        assert_eq!(
            self.recorded(),
            None,
            "a second pod, and the status names the first"
        );
        assert_eq!(self.departed, None, "a second pod, and the watch saw the first");
        self.created += 1;
        let uid = format!("pod-{}", self.created);
        let pod = Evidence {
            pod_name: POD.into(),
            pod_uid: uid.clone(),
            owner_uid: Some(TASK_UID.into()),
            scheduled: Some(at(self.now)),
            phase: "Pending".into(),
            ..Evidence::default()
        };
        self.events.push_back(Event::Applied(pod.clone()));
        self.pod = Some(pod);
        Creation::Created { uid }
    }

    fn settle(&mut self, settlement: Settlement, fate: Fate) {
        if settlement.refused_for_now {
            self.held_until = self.now + 20;
        }
        let Some(new) = settlement
            .status
            .filter(|new| self.task.status.as_ref() != Some(new))
        else {
            return;
        };
        match fate {
            Fate::Conflict => return,
            Fate::DiesBeforeStatus | Fate::DiesAfter(_) => return self.restart(),
            Fate::Whole => {}
        }
        self.check(&new);
        // As the API server keeps it: times in seconds.
        self.task.status = serde_json::from_value(json!(new)).unwrap();
    }

    fn check(&self, new: &PeonTaskStatus) {
        let holds = |type_| conditions::is_true(&new.conditions, type_);
        assert!(!self.task.is_final(), "a verdict was rewritten: {new:?}");
        assert!(conditions::find(&new.conditions, READY).is_some(), "{new:?}");
        assert!(!(holds(COMPLETE) && holds(FAILED)), "{new:?}");
        assert!(self.succeeded || !holds(COMPLETE), "an invented success: {new:?}");
        assert!(new.reason.as_deref().is_some_and(|r| !r.is_empty()), "{new:?}");
        assert!(serde_json::to_string(new).unwrap().len() < 4096, "{new:?}");
        let phase = new.phase.unwrap();
        assert_eq!(phase == Phase::Succeeded, holds(COMPLETE), "{new:?}");
        assert_eq!(phase == Phase::Failed, holds(FAILED), "{new:?}");
    }

    /// Nothing happens any more but passes.
    fn comes_to_rest(&mut self) {
        for _ in 0..8 {
            while !self.events.is_empty() {
                self.deliver();
            }
            self.now += 30;
            self.pass(Fate::Whole);
        }
        let at_rest = self.task.status.clone();
        self.now += 30;
        self.pass(Fate::Whole);
        assert_eq!(self.task.status, at_rest, "passes go on writing");

        let status = at_rest.unwrap();
        let state = format!("{status:?}\npod: {:?}", self.pod);
        if self.task.is_final() {
            let stray = |p: &Evidence| p.may_live() && p.deletion_requested.is_none();
            assert!(
                !self.pod.as_ref().is_some_and(stray),
                "a stray pod lives on: {state}"
            );
            return;
        }
        let reason = status.reason.as_deref().unwrap();
        match &self.pod {
            Some(pod) => {
                assert!(pod.may_live(), "a pod ended and there is no verdict: {state}");
                let runs = matches!(pod.peon, Container::Running { .. });
                assert_eq!(
                    reason,
                    if runs { "Running" } else { waiting::STARTING },
                    "{state}"
                );
                assert_eq!(status.pod_uid.as_ref(), Some(&pod.pod_uid), "{state}");
            }
            None if !self.template => assert_eq!(reason, accepted::NO_TEMPLATE, "{state}"),
            None => {
                assert!(self.quota, "nothing is in the way: {state}");
                assert_eq!(reason, waiting::QUOTA_EXCEEDED, "{state}");
            }
        }
    }
}

fn config() -> Config {
    Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// The object of a pod that a process created and did not live to record stays until it is found.
    #[test]
    fn a_task_is_run_once(history in prop::collection::vec(happening(), 0..60)) {
        let mut world = World::new();
        for happening in history {
            world.happens(happening, false);
            assert!(world.created <= 1, "two pods");
        }
        world.comes_to_rest();
        assert!(world.created <= 1, "two pods");
    }

    /// Pods may go at any time. One that nobody recorded and nobody saw go is made anew; no other is.
    #[test]
    fn a_recorded_task_is_run_once(history in prop::collection::vec(happening(), 0..60)) {
        let mut world = World::new();
        for happening in history {
            world.happens(happening, true);
        }
        world.comes_to_rest();
    }
}
