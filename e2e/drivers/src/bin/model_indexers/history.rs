//! What one Indexer announces: the history of its changes, as Druid's `ChangeRequestHistory` keeps it (pure).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use peon_operator::druid::worker::{
    Answer, Change, Counter, End, TaskAnnouncement, TaskFacts, TaskLocation, TaskState,
};

/// Changes that are kept; who is further behind has to ask for everything.
const KEPT: usize = 1000;

/// Tasks and changes of one JVM. Each change has the next number, and the time of the change as its hash.
#[derive(Debug)]
pub struct History {
    last: Counter,
    /// Where the oldest kept change begins, then each kept change with its place.
    begins: Counter,
    changes: VecDeque<(Counter, Change)>,
    tasks: BTreeMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    facts: TaskFacts,
    announced: Arc<TaskAnnouncement>,
}

impl History {
    /// That of a JVM which starts at this time, in milliseconds.
    pub fn new(now: i64) -> Self {
        let begins = Counter {
            counter: 0,
            hash: now,
        };
        Self {
            last: begins,
            begins,
            changes: VecDeque::new(),
            tasks: BTreeMap::new(),
        }
    }

    /// Takes a task that was assigned. False if it is known already: then nothing changes.
    pub fn assigned(&mut self, facts: TaskFacts, now: i64) -> bool {
        if self.tasks.contains_key(&facts.id) {
            return false;
        }
        let announced = TaskAnnouncement::running(facts.clone(), TaskLocation::unknown());
        self.announce(facts, announced, now);
        true
    }

    /// The task has begun, and can be called there.
    pub fn started(&mut self, id: &str, location: TaskLocation, now: i64) {
        if let Some(facts) = self.running(id) {
            let announced = TaskAnnouncement::running(facts.clone(), location);
            self.announce(facts, announced, now);
        }
    }

    /// The task ends, if it runs.
    pub fn ended(&mut self, id: &str, end: End, millis: i64, location: TaskLocation, now: i64) {
        if let Some(facts) = self.running(id) {
            let announced = TaskAnnouncement::ended(facts.clone(), end, millis, location);
            self.announce(facts, announced, now);
        }
    }

    /// Ids of the tasks that run.
    pub fn all_running(&self) -> Vec<&str> {
        let running = self
            .tasks
            .values()
            .filter(|known| known.announced.status == TaskState::Running);
        running.map(|known| known.facts.id.as_str()).collect()
    }

    fn running(&self, id: &str) -> Option<TaskFacts> {
        let known = self.tasks.get(id)?;
        (known.announced.status == TaskState::Running).then(|| known.facts.clone())
    }

    fn announce(&mut self, facts: TaskFacts, announced: TaskAnnouncement, now: i64) {
        let announced = Arc::new(announced);
        self.last = Counter {
            counter: self.last.counter + 1,
            hash: now,
        };
        if self.changes.len() == KEPT
            && let Some((place, _)) = self.changes.pop_front()
        {
            self.begins = place;
        }
        let change = Change::TaskUpdate {
            task_announcement: announced.clone(),
        };
        self.changes.push_back((self.last, change));
        self.tasks.insert(facts.id.clone(), Known { facts, announced });
    }

    /// The answer to who knows everything up to `asked`, or nothing; `None` while there is nothing new.
    pub fn answer(&self, asked: Option<Counter>) -> Option<Answer> {
        let Some(asked) = asked else {
            let tasks = self.tasks.values().map(|known| Change::TaskUpdate {
                task_announcement: known.announced.clone(),
            });
            let all = [Change::Metadata { disabled: false }].into_iter().chain(tasks);
            return Some(Answer::changes(self.last, all.collect()));
        };
        if asked == self.last {
            return None;
        }
        let new = if asked == self.begins {
            Some(0)
        } else {
            let place = self.changes.iter().position(|(place, _)| *place == asked);
            place.map(|place| place + 1)
        };
        let Some(new) = new else {
            return Some(Answer::reset(format!(
                "no change {asked:?} is known, the last one is {:?}",
                self.last
            )));
        };
        let changes = self.changes.range(new..).map(|(_, change)| change.clone());
        Some(Answer::changes(self.last, changes.collect()))
    }
}

#[cfg(test)]
mod tests {
    use peon_operator::middle_manager::registry::announcement::facts;

    use super::*;

    fn of(id: &str) -> TaskFacts {
        facts(id, "noop", None)
    }

    fn states(answer: &Answer) -> Vec<TaskState> {
        let changes = answer.requests.iter().flatten();
        let state = |change: &Change| match change {
            Change::TaskUpdate { task_announcement } => Some(task_announcement.status),
            _ => None,
        };
        changes.filter_map(state).collect()
    }

    #[test]
    fn a_task_is_announced_when_it_is_assigned_begins_and_ends() {
        let mut history = History::new(5);
        let first = history.answer(None).unwrap();
        assert_eq!(first.counter, Some(Counter { counter: 0, hash: 5 }));
        assert_eq!(history.answer(first.counter), None);
        assert!(history.assigned(of("a"), 6));
        assert!(!history.assigned(of("a"), 7), "it was assigned again");
        history.started("a", TaskLocation::http("127.0.0.2", 8091), 8);
        assert_eq!(history.all_running(), ["a"]);
        let here = TaskLocation::http("127.0.0.2", 8091);
        history.ended("a", End::Success, 1, here.clone(), 8);
        history.ended("a", End::Failed("late".into()), 2, here, 9);
        let news = history.answer(first.counter).unwrap();
        assert_eq!(news.counter, Some(Counter { counter: 3, hash: 8 }));
        assert_eq!(
            states(&news),
            [TaskState::Running, TaskState::Running, TaskState::Success]
        );
        let everything = history.answer(None).unwrap();
        assert_eq!(states(&everything), [TaskState::Success]);
        assert!(history.all_running().is_empty());
    }

    #[test]
    fn who_is_too_far_behind_or_of_another_jvm_asks_for_everything() {
        let mut history = History::new(0);
        let first = history.answer(None).unwrap().counter;
        for n in 0..KEPT {
            history.assigned(of(&n.to_string()), 1);
        }
        let answer = history.answer(first).unwrap();
        assert_eq!(answer.requests.unwrap().len(), KEPT);
        history.assigned(of("one more"), 1);
        assert!(history.answer(first).unwrap().reset_counter);
        let of_another = Counter { counter: 7, hash: 99 };
        assert!(history.answer(Some(of_another)).unwrap().reset_counter);
        let last = history.answer(None).unwrap().counter;
        assert_eq!(history.answer(last), None);
    }
}
