//! Cases that run together, and how they ended.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};

use super::{admission::admit, cores::Cores};

/// A case as a group runs it.
pub(super) struct Job {
    /// Its name.
    pub(super) name: &'static str,
    /// Whether it is counted and not run.
    pub(super) ignored: bool,
    /// The case.
    pub(super) run: Box<dyn FnOnce() -> Result<()> + Send>,
}

/// Cases that run beside each other.
pub(super) struct Group {
    /// Its name in the summary.
    pub(super) name: &'static str,
    /// How many of its cases run at the same time.
    pub(super) beside: usize,
    /// The cases, in the order in which they begin.
    pub(super) jobs: Vec<Job>,
}

/// How the cases of a group ended.
#[derive(Debug)]
pub(super) struct Outcome {
    name: &'static str,
    passed: u64,
    failed: u64,
    ignored: u64,
    beside: usize,
    took: Duration,
    /// Percent of the cores that were idle meanwhile, and that what has the lowest priority took.
    cores: (u64, u64),
    failures: Vec<String>,
}

impl Outcome {
    /// Whether no case failed.
    pub(super) fn is_good(&self) -> bool {
        self.failed == 0
    }

    /// A line for each case that failed: its name and why.
    pub(super) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// The line of the summary.
    pub(super) fn line(&self) -> String {
        let ignored = if self.ignored > 0 {
            format!(", {} ignored", self.ignored)
        } else {
            String::new()
        };
        let (idle, nice) = self.cores;
        format!(
            "group {:<12} {:>4} passed, {} failed{ignored}, {} beside each other: {:.0} s, cores {idle} % idle, {nice} % \
             for what has the lowest priority",
            self.name,
            self.passed,
            self.failed,
            self.beside,
            self.took.as_secs_f32()
        )
    }
}

impl Group {
    /// Runs it, and says at its end how long it took; nothing, when it has no cases.
    pub(super) fn run(self) -> Option<Outcome> {
        if self.jobs.is_empty() {
            return None;
        }
        let (begun, before) = (Instant::now(), Cores::now());
        let turns = Arc::new(Turns::default());
        let failures = Failures::default();
        let mut places = 0..;
        let trials = self.jobs.into_iter().map(|job| {
            let place = if job.ignored { None } else { places.next() };
            let alone = place.filter(|_| self.beside == 1);
            trial(job, alone.map(|place| (turns.clone(), place)), &failures)
        });
        let trials = trials.collect();
        // A runner with one thread names a case before it runs, in the middle of the lines of groups beside it. With two, of
        // which one waits for the other, it does when the case has ended.
        let arguments = Arguments {
            test_threads: Some(self.beside.max(2)),
            ..Arguments::default()
        };
        let ended = libtest_mimic::run(&arguments, trials);
        let outcome = Outcome {
            name: self.name,
            passed: ended.num_passed,
            failed: ended.num_failed,
            ignored: ended.num_ignored,
            beside: self.beside,
            took: begun.elapsed(),
            cores: Cores::now().since(before),
            failures: std::mem::take(&mut failures.lock().unwrap_or_else(PoisonError::into_inner)),
        };
        println!("{}", outcome.line());
        Some(outcome)
    }
}

/// Runs chains of groups at the same time. In a chain one group begins when the one before has ended.
pub(super) fn together(chains: Vec<Vec<Group>>) -> Vec<Outcome> {
    thread::scope(|scope| {
        let groups = |chain: Vec<Group>| chain.into_iter().filter_map(Group::run).collect::<Vec<_>>();
        let running: Vec<_> = chains
            .into_iter()
            .map(|chain| {
                let names: Vec<_> = chain.iter().map(|group| (group.name, group.beside)).collect();
                (names, scope.spawn(move || groups(chain)))
            })
            .collect();
        let ended = running.into_iter().flat_map(|(names, thread)| {
            // The runner itself panicked; cases that do are counted by it.
            let failed = |(name, beside)| Outcome {
                name,
                passed: 0,
                failed: 1,
                ignored: 0,
                beside,
                took: Duration::ZERO,
                cores: (0, 0),
                failures: vec![failure(&format!("group {name}"), "its runner panicked")],
            };
            thread
                .join()
                .unwrap_or_else(|_| names.into_iter().map(failed).collect())
        });
        ended.collect()
    })
}

/// Cases that run one after the other, in their order.
#[derive(Default)]
struct Turns {
    next: Mutex<usize>,
    ended: Condvar,
}

/// The turn of a case, until it is dropped.
struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits until all cases before this place have ended.
    fn wait_for(&self, place: usize) -> Turn<'_> {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ended.wait_while(next, |next| *next != place);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.next.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.ended.notify_all();
    }
}

/// Lines about cases that failed.
type Failures = Arc<Mutex<Vec<String>>>;

/// Most characters of the reason in such a line; the whole of it stands with the case.
const REASON: usize = 1000;

fn failure(name: &str, reason: &str) -> String {
    let reason = reason.replace('\n', " | ");
    format!(
        "failed: {name}: {}",
        reason.chars().take(REASON).collect::<String>()
    )
}

fn trial(job: Job, alone: Option<(Arc<Turns>, usize)>, failures: &Failures) -> Trial {
    let Job { name, ignored, run } = job;
    let failures = failures.clone();
    let run = move || {
        let turn = alone.as_ref().map(|(turns, place)| turns.wait_for(*place));
        let admitted = admit();
        let begun = Instant::now();
        let ended = run();
        drop(admitted);
        println!("{name} took {:.1} s", begun.elapsed().as_secs_f32());
        drop(turn);
        ended.map_err(|e| {
            let reason = format!("{e:#}");
            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.push(failure(name, &reason));
            reason.into()
        })
    };
    Trial::test(name, run).with_ignored_flag(ignored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_of_bounded_length() {
        assert_eq!(
            failure("a::case", "waited: one\ntwo"),
            "failed: a::case: waited: one | two"
        );
        assert!(failure("a::case", &"é".repeat(5000)).len() < 3 * REASON);
    }
}
