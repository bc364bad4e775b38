use proptest::prelude::*;

use super::*;
use crate::druid::worker::{End, TaskFacts, TaskLocation, TaskResource};

const HASH: i64 = 1_795_225_806_183;

macro_rules! recorded {
    ($name:literal) => {
        serde_smile::from_slice::<Answer>(include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/druid-wire/overlord-worker/",
            $name,
            ".response.body.smile"
        )))
        .unwrap()
    };
}

fn facts(id: &str, required_capacity: u32) -> TaskFacts {
    TaskFacts {
        id: id.into(),
        task_type: "noop".into(),
        data_source: "x".into(),
        resource: TaskResource {
            required_capacity,
            ..TaskResource::one(id)
        },
    }
}

fn running(id: &str) -> TaskAnnouncement {
    TaskAnnouncement::running(facts(id, 1), TaskLocation::unknown())
}

fn ended(id: &str) -> TaskAnnouncement {
    TaskAnnouncement::ended(facts(id, 1), End::Success, 5, TaskLocation::unknown())
}

fn at(counter: i64, hash: i64) -> Counter {
    Counter { counter, hash }
}

fn now(reply: Reply) -> Answer {
    match reply {
        Reply::Now(answer) => answer,
        Reply::Hold => panic!("held"),
    }
}

/// A MiddleManager of Druid 33.0.0 with one task, poll by poll; its hash changes with each change.
#[test]
fn tells_a_task_as_a_real_worker_does() {
    let ours = |mut theirs: Answer| {
        if let Some(counter) = &mut theirs.counter {
            counter.hash = HASH;
        }
        theirs
    };
    let mut history = ChangeHistory::new(HASH);
    assert_eq!(
        now(history.answer(at(-1, 0))),
        ours(recorded!("00-first-poll-fullsync"))
    );
    let told = [
        recorded!("01-second-poll-delta"),
        recorded!("03-poll-after-assign-a"),
        recorded!("04-poll-after-assign-b"),
        recorded!("05-poll-task-done"),
    ];
    let mut number = 0;
    let mut before: Option<TaskAnnouncement> = None;
    for theirs in told {
        assert_eq!(history.answer(at(number, HASH)), Reply::Hold);
        let Some([Change::TaskUpdate { task_announcement }]) = theirs.requests.as_deref() else {
            panic!("an update is recorded");
        };
        let announcement = task_announcement.as_ref().clone();
        // The real worker announces the task twice in the same words.
        let news = before.as_ref() != Some(&announcement);
        assert_eq!(history.announce(announcement.clone()), news);
        if news {
            number += 1;
            let answer = now(history.answer(at(number - 1, HASH)));
            assert_eq!(answer.requests, theirs.requests);
            assert_eq!(answer.counter, Some(at(number, HASH)));
        }
        before = Some(announcement);
    }
    assert_eq!(number, 3);
}

#[test]
fn sends_back_whoever_knows_another_history_in_the_words_of_a_real_worker() {
    let mut history = ChangeHistory::new(1_795_227_139_503);
    let cause = |asked, history: &mut ChangeHistory| {
        let answer = now(history.answer(asked));
        assert!(answer.reset_counter && answer.counter.is_none() && answer.requests.is_none());
        answer.reset_cause.unwrap()
    };
    assert_eq!(
        cause(at(0, 12345), &mut history),
        "counter[Counter{counter=0, hash=12345}] failed to match with [Counter{counter=0, hash=1795227139503}]"
    );
    assert_eq!(
        cause(at(9999, 1), &mut history),
        "counter[Counter{counter=9999, hash=1}] > last counter[Counter{counter=0, hash=1795227139503}]"
    );
    cause(at(1, 1_795_227_139_503), &mut history);
    cause(at(i64::MAX, 1_795_227_139_503), &mut history);
    assert_eq!(history.confirmed(), -1);
}

#[test]
fn remembers_as_many_changes_as_it_says() {
    let mut history = ChangeHistory::new(HASH);
    let many = i64::try_from(REMEMBERED).unwrap();
    for n in 0..many {
        history.disable(n % 2 == 0);
    }
    let all = now(history.answer(at(0, HASH)));
    assert_eq!(all.requests.map(|r| r.len()), Some(REMEMBERED));
    history.disable(true);
    assert_eq!(
        now(history.answer(at(0, HASH))).reset_cause.unwrap(),
        "can't serve request, not enough history is kept. given counter[Counter{counter=0, hash=1795225806183}] and \
         current last counter[Counter{counter=1025, hash=1795225806183}]"
    );
    let rest = now(history.answer(at(1, HASH))).requests.unwrap();
    assert_eq!(rest.len(), REMEMBERED);
    assert_eq!(
        now(history.answer(at(many, HASH))).requests,
        Some(vec![Change::Metadata { disabled: true }])
    );
}

#[test]
fn what_is_no_news_is_not_told() {
    let mut history = ChangeHistory::new(HASH);
    assert!(!history.disable(false));
    assert!(!history.remove("a"));
    assert!(history.announce(running("a")));
    assert!(!history.announce(running("a")));
    assert!(history.remove("a"));
    assert!(!history.remove("a"));
    assert_eq!(history.newest(), 2);
}

#[test]
fn delivered_is_what_somebody_asked_on_from() {
    let mut history = ChangeHistory::new(HASH);
    history.announce(running("a"));
    history.announce(ended("b"));
    let told = now(history.answer(at(-1, 0))).counter.unwrap();
    assert!(!history.delivered("a"), "an answer may get lost");
    history.answer(at(1, HASH));
    assert!(history.delivered("a") && !history.delivered("b"));
    // Of another process, of the future, or of nothing: no proof.
    for asked in [at(2, HASH + 1), at(3, HASH), at(-1, HASH)] {
        history.answer(asked);
        assert!(!history.delivered("b"));
    }
    history.answer(told);
    assert!(history.delivered("b") && history.confirmed() == history.newest());
    history.announce(ended("a"));
    assert!(!history.delivered("a"));
    // An old poll that comes late takes nothing back.
    history.answer(at(3, HASH));
    history.answer(at(1, HASH));
    assert!(history.delivered("a"));
    history.remove("a");
    assert!(!history.delivered("a") && !history.delivered("never seen"));
}

#[test]
fn slots_are_those_of_running_tasks() {
    let mut history = ChangeHistory::new(HASH);
    history.announce(TaskAnnouncement::running(
        facts("two", 2),
        TaskLocation::unknown(),
    ));
    history.announce(running("one"));
    history.announce(ended("over"));
    assert_eq!(history.used(), 3);
    let ids: Vec<&str> = history.running().map(|task| task.id.as_str()).collect();
    assert_eq!(ids, ["one", "two"]);
    for id in ["huge", "more"] {
        history.announce(TaskAnnouncement::running(
            facts(id, u32::MAX),
            TaskLocation::unknown(),
        ));
    }
    assert_eq!(history.used(), u32::MAX);
}

/// An overlord, as far as it follows one worker.
#[derive(Debug, Default)]
struct Overlord {
    knows: Option<Counter>,
    tasks: BTreeMap<String, TaskAnnouncement>,
    disabled: bool,
    /// Tasks that it believed to run and that were gone.
    lost: Vec<String>,
}

impl Overlord {
    fn asks(&self) -> Counter {
        self.knows.unwrap_or(at(-1, 0))
    }

    fn hears(&mut self, answer: Answer) {
        if answer.reset_counter {
            self.knows = None;
            return;
        }
        let mut before = BTreeMap::new();
        if self.knows.is_none() {
            before = std::mem::take(&mut self.tasks);
        }
        self.knows = answer.counter;
        for change in answer.requests.unwrap() {
            match change {
                Change::Metadata { disabled } => self.disabled = disabled,
                Change::TaskUpdate { task_announcement } => {
                    before.remove(&task_announcement.id);
                    let task = task_announcement.as_ref().clone();
                    self.tasks.insert(task.id.clone(), task);
                }
                Change::TaskRemoval { task_id } => {
                    before.extend(self.tasks.remove_entry(&task_id));
                }
            }
        }
        let running = |task: &TaskAnnouncement| task.status == TaskState::Running;
        self.lost
            .extend(before.into_values().filter(running).map(|task| task.id));
    }

    /// Until there is nothing to hear.
    fn catches_up(&mut self, history: &mut ChangeHistory) {
        for _ in 0..4 {
            match history.answer(self.asks()) {
                Reply::Now(answer) => self.hears(answer),
                Reply::Hold => return,
            }
        }
        panic!("{:?} does not catch up", self.asks());
    }
}

#[derive(Debug, Clone)]
enum Act {
    /// A task is announced in one of four ways.
    Announce(u8, u8),
    /// A task is removed, come what may.
    Remove(u8),
    /// A task is removed as it should be.
    Forget(u8),
    Disable(bool),
    /// An overlord polls, and the answer may get lost.
    Poll(usize, bool),
    /// More happens than is remembered.
    Much,
    /// The process starts anew with the tasks that there are.
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..5_u8, 0..4_u8).prop_map(|(task, how)| Act::Announce(task, how)),
        2 => (0..5_u8).prop_map(Act::Remove),
        4 => (0..5_u8).prop_map(Act::Forget),
        1 => any::<bool>().prop_map(Act::Disable),
        8 => (0..3_usize, any::<bool>()).prop_map(|(who, lost)| Act::Poll(who, lost)),
        1 => Just(Act::Much),
        1 => Just(Act::Restart),
    ]
}

fn announcement(task: u8, how: u8) -> TaskAnnouncement {
    let task = facts(&task.to_string(), 1);
    let place = TaskLocation::http("10.0.0.9", 8100);
    match how {
        0 => TaskAnnouncement::running(task, TaskLocation::unknown()),
        1 => TaskAnnouncement::running(task, place),
        2 => TaskAnnouncement::ended(task, End::Success, 3, place),
        _ => TaskAnnouncement::ended(task, End::Failed("why".into()), 3, place),
    }
}

struct World {
    history: ChangeHistory,
    overlords: Vec<Overlord>,
    truth: BTreeMap<String, TaskAnnouncement>,
}

impl World {
    fn new(overlords: usize) -> Self {
        Self {
            history: ChangeHistory::new(HASH),
            overlords: (0..overlords).map(|_| Overlord::default()).collect(),
            truth: BTreeMap::new(),
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Announce(task, how) => {
                let announcement = announcement(task, how);
                let id = announcement.id.clone();
                let news = self.truth.get(&id) != Some(&announcement);
                assert_eq!(self.history.announce(announcement.clone()), news);
                self.truth.insert(id, announcement);
            }
            Act::Remove(task) => self.remove(&task.to_string()),
            Act::Forget(task) => {
                let id = task.to_string();
                let known = self.truth.get(&id);
                let over = known.is_some_and(|task| task.status != TaskState::Running);
                if over && self.history.delivered(&id) {
                    self.remove(&id);
                }
            }
            Act::Disable(disabled) => {
                self.history.disable(disabled);
            }
            Act::Poll(who, lost) => {
                let who = who % self.overlords.len();
                let overlord = &mut self.overlords[who];
                if let Reply::Now(answer) = self.history.answer(overlord.asks())
                    && !lost
                {
                    overlord.hears(answer);
                }
            }
            Act::Much => {
                let disabled = self.history.disabled();
                for n in 0..=REMEMBERED {
                    self.history.disable((n % 2 == 0) != disabled);
                }
            }
            Act::Restart => {
                self.history = ChangeHistory::new(self.history.hash + 1);
                for task in self.truth.values() {
                    self.history.announce(task.clone());
                }
            }
        }
    }

    fn remove(&mut self, id: &str) {
        assert_eq!(self.history.remove(id), self.truth.remove(id).is_some());
    }
}

proptest! {
    #[test]
    fn whoever_follows_ends_with_the_truth(acts in prop::collection::vec(act(), 0..120)) {
        let mut world = World::new(3);
        for act in &acts {
            world.act(act);
        }
        for overlord in &mut world.overlords {
            overlord.catches_up(&mut world.history);
            prop_assert_eq!(&overlord.tasks, &world.truth);
            prop_assert_eq!(overlord.disabled, world.history.disabled());
        }
        prop_assert_eq!(world.history.confirmed(), world.history.newest());
    }

    /// With an owner that removes only what is over and delivered, and never lets a task run again.
    #[test]
    fn no_running_task_disappears(acts in prop::collection::vec(act(), 0..120)) {
        let mut world = World::new(1);
        for act in &acts {
            match act {
                Act::Remove(_) => {}
                Act::Announce(task, 0 | 1) if world.truth.get(&task.to_string()).is_some_and(|task| task.status != TaskState::Running) => {}
                act => world.act(act),
            }
        }
        world.overlords[0].catches_up(&mut world.history);
        prop_assert_eq!(&world.overlords[0].lost, &Vec::<String>::new());
    }

    /// The same with several overlords of which none falls further behind than is remembered.
    #[test]
    fn no_running_task_is_removed_from_under_several(acts in prop::collection::vec(act(), 0..120)) {
        let mut world = World::new(3);
        for act in &acts {
            match act {
                Act::Remove(_) | Act::Much | Act::Restart => {}
                Act::Announce(task, 0 | 1) if world.truth.get(&task.to_string()).is_some_and(|task| task.status != TaskState::Running) => {}
                act => world.act(act),
            }
        }
        for overlord in &mut world.overlords {
            overlord.catches_up(&mut world.history);
            prop_assert_eq!(&overlord.lost, &Vec::<String>::new());
        }
    }
}
