use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::druid::indexer_ports::IndexerPorts;
use crate::middle_manager::object_fixtures::at;

fn id() -> PoolId {
    PoolId {
        name: "warm".into(),
        uid: "pool".into(),
    }
}

/// A ready pod; its uid is the end of its address.
fn pod(uid: u8) -> IndexerPod {
    IndexerPod {
        uid: uid.to_string(),
        pool: id(),
        serves_queries: false,
        is_terminating: false,
        ready: Some(Endpoint {
            ports: IndexerPorts::default(),
            ip: format!("10.0.0.{uid}"),
            started: at(110),
        }),
    }
}

fn address(uid: u8) -> String {
    format!("10.0.0.{uid}:8091")
}

fn workers(uids: &[u8]) -> BTreeSet<String> {
    uids.iter()
        .map(|uid| address(*uid))
        .chain(["vmm:8091".to_owned()])
        .collect()
}

/// Checks, and the time, which a test advances.
struct Bench {
    checks: Checks,
    now: Instant,
}

impl Bench {
    fn new(pods: &[IndexerPod]) -> Self {
        let mut bench = Self {
            checks: Checks::default(),
            now: Instant::now(),
        };
        bench.checks.see(pods, bench.now);
        bench
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn reads(&self) -> Vec<String> {
        let reads = self.checks.reads(self.now).into_iter();
        reads.map(|read| read.uid).collect()
    }

    fn read(&mut self, uid: u8, finding: Finding) {
        let read = Read {
            uid: uid.to_string(),
            endpoint: pod(uid).ready.unwrap(),
        };
        self.checks.read(&read, finding, self.now);
    }

    fn is_asking(&self) -> bool {
        self.checks.list_due().is_some_and(|at| at <= self.now)
    }

    fn ask(&mut self, listed: &[u8]) {
        let asked = self.checks.ask(self.now);
        self.checks.listed(asked, Ok(&workers(listed)), self.now);
    }

    fn verdict(&self, uid: u8) -> Verdict<'_> {
        self.checks.pods[&uid.to_string()].verdict()
    }
}

#[test]
fn an_indexer_is_hidden_after_both_readings_in_this_order() {
    let mut bench = Bench::new(&[pod(1)]);
    assert_eq!(bench.reads(), ["1"]);
    assert!(!bench.is_asking(), "there is nothing to ask for");
    // The overlord was asked too early.
    let early = bench.checks.ask(bench.now);
    bench.read(1, Finding::Hidden);
    bench.checks.listed(early, Ok(&workers(&[])), bench.now);
    assert_eq!(bench.verdict(1), Verdict::Unproven(None));
    assert!(bench.reads().is_empty(), "it was read");
    bench.pass(1);
    assert!(bench.is_asking());
    bench.ask(&[]);
    assert_eq!(bench.verdict(1), Verdict::Hidden);
    assert!(!bench.is_asking());
    // It stays so while it is not ready, and until it is gone.
    let unready = IndexerPod {
        ready: None,
        ..pod(1)
    };
    bench.checks.see(&[unready], bench.now);
    assert_eq!(bench.verdict(1), Verdict::Hidden);
    bench.checks.see(&[pod(1)], bench.now);
    assert_eq!(bench.verdict(1), Verdict::Hidden);
    bench.checks.see(&[], bench.now);
    assert!(bench.checks.pods.is_empty());
    assert_eq!(bench.checks.next(), None);
}

type Make = fn() -> Finding;

#[test]
fn what_was_read_decides_when_it_is_read_again() {
    let failed = || Finding::Failed("no".into());
    let invalid = || Finding::Invalid("no".into());
    let delays: [(Make, [u64; 8]); 5] = [
        (|| Finding::Absent, [1, 2, 4, 8, 10, 10, 10, 10]),
        (|| Finding::Earlier, [1, 2, 4, 8, 10, 10, 10, 10]),
        (|| Finding::NoSession, [5; 8]),
        (failed, [1, 2, 4, 8, 16, 32, 60, 60]),
        (invalid, [1, 2, 4, 8, 16, 32, 60, 60]),
    ];
    for (finding, expected) in delays {
        let mut bench = Bench::new(&[pod(1)]);
        for seconds in expected {
            bench.read(1, finding());
            assert_eq!(bench.verdict(1), Verdict::Unproven(Some(&finding())));
            let next = bench.checks.next().unwrap();
            assert_eq!(next - bench.now, Duration::from_secs(seconds), "{:?}", finding());
            bench.now = next;
            assert_eq!(bench.reads(), ["1"]);
        }
        assert!(!bench.is_asking());
        bench.read(1, Finding::Hidden);
        bench.ask(&[]);
        assert_eq!(bench.verdict(1), Verdict::Hidden);
    }
}

#[test]
fn nothing_is_read_of_pods_that_are_not_ready_or_go() {
    let unready = IndexerPod {
        ready: None,
        ..pod(1)
    };
    let going = IndexerPod {
        is_terminating: true,
        ..pod(2)
    };
    let mut bench = Bench::new(&[unready, going]);
    assert!(bench.reads().is_empty());
    assert_eq!(bench.checks.next(), None);
    bench.checks.see(&[pod(1)], bench.now);
    assert_eq!(bench.reads(), ["1"]);
}

#[test]
fn an_indexer_that_offers_a_worker_is_visible_for_good() {
    let mut bench = Bench::new(&[pod(1)]);
    bench.read(1, Finding::OffersWorker);
    for listed in [&[1][..], &[]] {
        bench.pass(600);
        bench.ask(listed);
        assert_eq!(bench.verdict(1), Verdict::Announced);
        assert!(bench.reads().is_empty() && !bench.is_asking());
    }
}

#[test]
fn the_overlord_is_asked_again_every_minute_and_may_see_an_indexer_later() {
    let mut bench = Bench::new(&[pod(1), pod(2)]);
    bench.read(1, Finding::Hidden);
    bench.read(2, Finding::Hidden);
    bench.ask(&[]);
    for _ in 0..3 {
        bench.pass(59);
        assert!(!bench.is_asking());
        bench.pass(1);
        assert!(bench.is_asking());
        bench.ask(&[]);
    }
    bench.pass(60);
    bench.ask(&[2]);
    assert_eq!(bench.verdict(1), Verdict::Hidden);
    assert_eq!(bench.verdict(2), Verdict::Listed(None));
    // It is checked from the beginning: its announcement, then the list.
    assert!(bench.reads().is_empty());
    bench.ask(&[]);
    assert_eq!(bench.verdict(2), Verdict::Listed(None));
    bench.pass(10);
    assert_eq!(bench.reads(), ["2"]);
    bench.read(2, Finding::Hidden);
    assert!(bench.is_asking());
    bench.ask(&[2]);
    assert_eq!(bench.verdict(2), Verdict::Listed(None));
    bench.pass(10);
    bench.read(2, Finding::Absent);
    bench.ask(&[]);
    assert_eq!(bench.verdict(2), Verdict::Listed(Some(&Finding::Absent)));
    bench.pass(1);
    bench.read(2, Finding::Hidden);
    bench.ask(&[]);
    assert_eq!(bench.verdict(2), Verdict::Hidden);
}

/// A worker may have had the address before the pod.
#[test]
fn a_list_says_nothing_of_an_indexer_whose_announcement_was_not_read() {
    let mut bench = Bench::new(&[pod(1), pod(2)]);
    bench.read(2, Finding::Hidden);
    bench.ask(&[1]);
    assert_eq!(bench.verdict(1), Verdict::Unproven(None));
    assert_eq!(bench.verdict(2), Verdict::Hidden);
}

#[test]
fn one_question_serves_all_and_a_second_is_between_two() {
    let mut bench = Bench::new(&[pod(1), pod(2), pod(3)]);
    bench.read(1, Finding::Hidden);
    bench.read(2, Finding::Hidden);
    bench.ask(&[2]);
    assert_eq!(bench.verdict(1), Verdict::Hidden);
    assert_eq!(bench.verdict(2), Verdict::Listed(None));
    bench.read(3, Finding::Hidden);
    assert!(!bench.is_asking());
    bench.pass(1);
    assert!(bench.is_asking());
    // Whoever asks for others asks for all.
    bench.ask(&[1]);
    assert_eq!(bench.verdict(1), Verdict::Listed(None));
    assert_eq!(bench.verdict(3), Verdict::Hidden);
}

#[test]
fn an_overlord_that_does_not_answer_is_asked_less_and_less_often() {
    let mut bench = Bench::new(&[pod(1)]);
    bench.read(1, Finding::Hidden);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let asked = bench.checks.ask(bench.now);
        bench.checks.listed(asked, Err("away".into()), bench.now);
        assert_eq!(bench.checks.overlord_error(), Some("away"));
        assert_eq!(bench.verdict(1), Verdict::Unproven(None));
        let next = bench.checks.next().unwrap();
        assert_eq!(next - bench.now, Duration::from_secs(seconds));
        bench.now = next;
    }
    bench.ask(&[]);
    assert_eq!(bench.verdict(1), Verdict::Hidden);
    assert_eq!(bench.checks.overlord_error(), None);
}

#[test]
fn another_process_in_a_pod_or_at_another_address_is_not_proven() {
    let other = |change: fn(&mut Endpoint)| {
        let mut bench = Bench::new(&[pod(1)]);
        bench.read(1, Finding::Hidden);
        bench.ask(&[]);
        let mut changed = pod(1);
        changed.ready.as_mut().map(change).unwrap();
        bench.checks.see(&[changed], bench.now);
        assert_eq!(bench.verdict(1), Verdict::Unproven(None));
        assert_eq!(bench.reads(), ["1"]);
        // A reading that was on its way is the former's.
        bench.read(1, Finding::Hidden);
        bench.pass(1);
        bench.ask(&[]);
        assert_eq!(bench.verdict(1), Verdict::Unproven(None));
    };
    other(|endpoint| endpoint.ip = "10.0.0.9".into());
    other(|endpoint| endpoint.started = at(200));
}

/// What may happen, in any order, also a reading and a question that are on their way at the same time.
#[derive(Debug, Clone)]
enum Step {
    Pods(Vec<(u8, bool, bool)>),
    Restart(u8),
    ReadBegins(u8),
    ReadEnds(u8, Finding),
    Ask,
    Answer(Option<Vec<u8>>),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let uid = 1..4_u8;
    let finding = prop_oneof![
        5 => Just(Finding::Hidden),
        1 => Just(Finding::OffersWorker),
        1 => Just(Finding::Absent),
        1 => Just(Finding::Earlier),
        1 => Just(Finding::NoSession),
        1 => Just(Finding::Failed("no".into())),
    ];
    prop_oneof![
        2 => proptest::collection::vec((uid.clone(), any::<bool>(), any::<bool>()), 0..4).prop_map(Step::Pods),
        1 => uid.clone().prop_map(Step::Restart),
        4 => uid.clone().prop_map(Step::ReadBegins),
        6 => (uid.clone(), finding).prop_map(|(uid, finding)| Step::ReadEnds(uid, finding)),
        4 => Just(Step::Ask),
        4 => proptest::option::weighted(0.8, proptest::collection::vec(uid, 0..2)).prop_map(Step::Answer),
        2 => (0..70_u64).prop_map(Step::Pass),
    ]
}

/// What is known for certain of one process.
#[derive(Debug, Default, Clone)]
struct Proofs {
    /// Whether its own announcement was read, without worker.
    is_read: bool,
    /// Whether the question that is on its way was asked after that.
    is_asked: bool,
    is_proven: bool,
}

proptest! {
    /// Whatever happens in whatever order: without both readings of this very process, in this order, and a later list
    /// that has it, none is hidden.
    #[test]
    fn no_indexer_is_hidden_without_both_readings(steps in proptest::collection::vec(step(), 0..60)) {
        let mut checks = Checks::default();
        let mut now = Instant::now();
        let mut starts: HashMap<u8, i64> = HashMap::new();
        let mut pods: Vec<IndexerPod> = Vec::new();
        let mut known: HashMap<(String, i64), Proofs> = HashMap::new();
        let mut reads: HashMap<u8, Read> = HashMap::new();
        let mut asked = None;
        for step in steps {
            match step {
                Step::Pods(seen) => {
                    let seen: BTreeMap<u8, (bool, bool)> = seen.into_iter().map(|(u, r, t)| (u, (r, t))).collect();
                    let seen = seen.into_iter().map(|(uid, (is_ready, is_terminating))| {
                        let mut pod = IndexerPod { is_terminating, ..pod(uid) };
                        pod.ready = pod.ready.filter(|_| is_ready);
                        if let Some(ready) = &mut pod.ready {
                            ready.started = at(*starts.entry(uid).or_insert(110));
                        }
                        pod
                    });
                    pods = seen.collect();
                    checks.see(&pods, now);
                    known.retain(|(uid, _), _| pods.iter().any(|pod| pod.uid == *uid));
                }
                Step::Restart(uid) => *starts.entry(uid).or_insert(110) += 1,
                Step::ReadBegins(uid) => {
                    let pod = pods.iter().find(|pod| pod.uid == uid.to_string());
                    if let Some(endpoint) = pod.and_then(|pod| pod.ready.clone()) {
                        reads.insert(uid, Read { uid: uid.to_string(), endpoint });
                    }
                }
                Step::ReadEnds(uid, finding) => if let Some(read) = reads.remove(&uid) {
                    let exists = pods.iter().any(|pod| pod.uid == read.uid);
                    if finding == Finding::Hidden && exists {
                        let proofs = known.entry((read.uid.clone(), read.endpoint.started.as_second())).or_default();
                        proofs.is_read = true;
                    }
                    checks.read(&read, finding, now);
                },
                Step::Ask => {
                    asked = Some(checks.ask(now));
                    for proofs in known.values_mut() {
                        proofs.is_asked = proofs.is_read;
                    }
                }
                Step::Answer(listed) => if let Some(asked) = asked.take() {
                    let answer = listed.as_deref().map(workers);
                    checks.listed(asked, answer.as_ref().ok_or_else(|| "away".to_owned()), now);
                    for ((uid, _), proofs) in &mut known {
                        if let Some(answer) = &answer && proofs.is_asked {
                            let is_listed = answer.contains(&address(uid.parse().unwrap()));
                            proofs.is_proven = !is_listed;
                            proofs.is_read &= !is_listed;
                        }
                        proofs.is_asked = false;
                    }
                },
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
            }
            for (uid, check) in checks.of(&id()) {
                if check.verdict() == Verdict::Hidden {
                    let started = check.endpoint.as_ref().unwrap().started.as_second();
                    let proofs = known.get(&(uid.to_owned(), started)).cloned().unwrap_or_default();
                    prop_assert!(proofs.is_proven, "{uid}: {check:?} {proofs:?}");
                }
            }
        }
    }
}
