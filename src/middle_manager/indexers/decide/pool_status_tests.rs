use std::collections::BTreeSet;

use super::*;
use crate::druid::indexer_ports::IndexerPorts;
use crate::middle_manager::indexers::decide::checks::Read;
use crate::middle_manager::indexers::decide::pod::{Endpoint, IndexerPod};
use crate::middle_manager::object_fixtures::at;

fn id(name: &str) -> PoolId {
    PoolId {
        name: name.into(),
        uid: format!("uid-{name}"),
    }
}

/// A ready pod of the pool `warm`; its uid is the end of its address.
fn pod(uid: u16) -> IndexerPod {
    IndexerPod {
        uid: format!("{uid:04}"),
        pool: id("warm"),
        serves_queries: false,
        is_terminating: false,
        ready: Some(Endpoint {
            ports: IndexerPorts::default(),
            ip: format!("10.0.0.{uid}"),
            started: at(110),
        }),
    }
}

struct Bench {
    checks: Checks,
    statuses: PoolStatuses,
    now: Instant,
}

impl Bench {
    fn new(pods: &[IndexerPod]) -> Self {
        let mut bench = Self {
            checks: Checks::default(),
            statuses: PoolStatuses::default(),
            now: Instant::now(),
        };
        bench.see(pods);
        bench
    }

    fn see(&mut self, pods: &[IndexerPod]) {
        self.checks.see(pods, self.now);
        self.statuses.see(&self.checks, self.now);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.statuses.see(&self.checks, self.now);
    }

    fn read(&mut self, pod: &IndexerPod, finding: Finding) {
        let read = Read {
            uid: pod.uid.clone(),
            endpoint: pod.ready.clone().unwrap(),
        };
        self.checks.read(&read, finding, self.now);
        self.statuses.see(&self.checks, self.now);
    }

    fn ask(&mut self, listed: &[&str]) {
        let asked = self.checks.ask(self.now);
        let workers: BTreeSet<String> = listed.iter().map(|&worker| worker.to_owned()).collect();
        self.checks.listed(asked, Ok(&workers), self.now);
        self.statuses.see(&self.checks, self.now);
    }

    fn writes(&self) -> Vec<Write> {
        self.statuses.writes(&self.checks, self.now)
    }

    fn next(&self) -> Option<Duration> {
        let next = self.statuses.next(&self.checks, self.now)?;
        Some(next.saturating_duration_since(self.now))
    }

    /// Writes what is due of one pool.
    fn write(&mut self, outcome: Written) -> IndexerDiscovery {
        let writes = self.writes();
        assert_eq!(writes.len(), 1, "{writes:?}");
        self.statuses.written(&writes[0], outcome, self.now);
        self.statuses.see(&self.checks, self.now);
        writes[0].discovery.clone()
    }
}

fn hidden(uids: &[&str]) -> IndexerDiscovery {
    IndexerDiscovery {
        hidden: uids.iter().map(|&uid| uid.to_owned()).collect(),
        ..IndexerDiscovery::default()
    }
}

#[test]
fn a_proof_is_written_at_once_and_one_write_a_second_serves_all() {
    let pods: Vec<_> = (1..=4).map(pod).collect();
    let mut bench = Bench::new(&pods[..1]);
    bench.read(&pods[0], Finding::Hidden);
    assert!(bench.writes().is_empty());
    bench.ask(&[]);
    assert_eq!(bench.write(Written::Kept), hidden(&["0001"]));
    assert!(bench.writes().is_empty(), "it is known");
    bench.see(&pods);
    for pod in &pods[1..] {
        bench.read(pod, Finding::Hidden);
        bench.ask(&[]);
        assert!(bench.writes().is_empty(), "within a second");
    }
    assert_eq!(bench.next(), Some(LEAST));
    bench.pass(1);
    assert_eq!(
        bench.write(Written::Kept),
        hidden(&["0001", "0002", "0003", "0004"])
    );
    // Those that are gone are dropped.
    bench.pass(1);
    bench.see(&pods[2..]);
    assert_eq!(bench.write(Written::Kept), hidden(&["0003", "0004"]));
    // Another client may have changed it.
    assert_eq!(bench.next(), Some(RESTATED));
    bench.pass(300);
    assert_eq!(bench.write(Written::Kept), hidden(&["0003", "0004"]));
}

#[test]
fn a_process_that_begins_first_proves_what_an_earlier_one_may_have_proven() {
    let pods: Vec<_> = (1..=2).map(pod).collect();
    let mut bench = Bench::new(&pods);
    bench.read(&pods[0], Finding::Hidden);
    bench.ask(&[]);
    assert!(bench.writes().is_empty());
    assert_eq!(bench.next(), Some(FIRST));
    bench.pass(10);
    assert_eq!(bench.write(Written::Kept), hidden(&["0001"]));
    bench.pass(1);
    bench.read(&pods[1], Finding::Hidden);
    bench.ask(&[]);
    assert_eq!(bench.write(Written::Kept), hidden(&["0001", "0002"]));
}

#[test]
fn one_that_is_not_announced_for_two_minutes_is_given_up() {
    for finding in [Finding::Absent, Finding::Earlier] {
        let mut bench = Bench::new(&[pod(1), pod(2)]);
        bench.read(&pod(1), Finding::Hidden);
        bench.ask(&[]);
        bench.pass(119);
        bench.read(&pod(2), finding.clone());
        assert_eq!(bench.write(Written::Kept).unannounced, Vec::<String>::new());
        bench.pass(1);
        let written = bench.write(Written::Kept);
        assert_eq!(
            (written.unannounced, written.hidden),
            (vec!["0002".to_owned()], vec!["0001".to_owned()])
        );
        bench.pass(1);
        bench.read(&pod(2), Finding::Hidden);
        assert_eq!(bench.write(Written::Kept).unannounced, Vec::<String>::new());
    }
    // What cannot be read says nothing.
    let mut bench = Bench::new(&[pod(1)]);
    bench.pass(600);
    bench.read(&pod(1), Finding::NoSession);
    assert_eq!(bench.write(Written::Kept).unannounced, Vec::<String>::new());
}

#[test]
fn without_pods_the_status_is_emptied_and_forgotten() {
    let mut bench = Bench::new(&[pod(1)]);
    bench.read(&pod(1), Finding::Hidden);
    bench.ask(&[]);
    bench.write(Written::Kept);
    bench.pass(1);
    bench.see(&[]);
    bench.write(Written::Failed);
    assert_eq!(bench.next(), Some(Duration::from_secs(1)));
    bench.pass(1);
    assert_eq!(bench.write(Written::Kept), IndexerDiscovery::default());
    assert_eq!(bench.next(), None);
    // Nothing was written.
    let mut bench = Bench::new(&[pod(1)]);
    bench.see(&[]);
    assert_eq!(bench.next(), None);
    // The pool went with its pods.
    let mut bench = Bench::new(&[pod(1)]);
    bench.read(&pod(1), Finding::Hidden);
    bench.ask(&[]);
    bench.write(Written::Kept);
    bench.pass(1);
    bench.see(&[]);
    bench.write(Written::Refused);
    assert_eq!(bench.next(), None);
}

#[test]
fn what_is_not_written_is_tried_again_later() {
    for (outcome, delays) in [
        (Written::Failed, [1, 2, 4, 8, 16, 32, 60, 60]),
        (Written::Refused, [60; 8]),
    ] {
        let mut bench = Bench::new(&[pod(1)]);
        bench.read(&pod(1), Finding::Hidden);
        bench.ask(&[]);
        for seconds in delays {
            bench.write(outcome);
            assert_eq!(bench.next(), Some(Duration::from_secs(seconds)), "{outcome:?}");
            bench.pass(seconds);
        }
        assert_eq!(bench.write(Written::Kept), hidden(&["0001"]));
    }
}

#[test]
fn pools_do_not_wait_for_each_other() {
    let other = IndexerPod {
        pool: id("cold"),
        ..pod(2)
    };
    let mut bench = Bench::new(&[pod(1), other.clone()]);
    bench.read(&pod(1), Finding::Hidden);
    bench.ask(&[]);
    assert_eq!(bench.write(Written::Kept), hidden(&["0001"]));
    bench.read(&other, Finding::Hidden);
    bench.ask(&[]);
    let writes = bench.writes();
    assert_eq!(writes.len(), 1);
    assert_eq!(
        (writes[0].pool.name.as_str(), &writes[0].discovery),
        ("cold", &hidden(&["0002"]))
    );
}

#[test]
fn the_most_important_is_said() {
    let failed = |why: &str| Finding::Failed(why.into());
    let pods: Vec<_> = (1..=5).map(pod).collect();
    let mut bench = Bench::new(&pods);
    let message = |bench: &Bench| {
        bench.statuses.0[&id("warm")]
            .said
            .clone()
            .map(|said| said.message)
    };
    assert_eq!(message(&bench), None);
    bench.read(&pods[4], Finding::Absent);
    assert_eq!(message(&bench), None, "its JVM has just begun");
    bench.pass(60);
    assert_eq!(
        message(&bench).as_deref(),
        Some("10.0.0.5:8091 is not announced in Druid's discovery")
    );
    bench.read(&pods[3], Finding::Earlier);
    let said = message(&bench).unwrap();
    assert!(
        said.starts_with("10.0.0.4:8091 is announced only by a process that began before"),
        "{said}"
    );
    bench.read(&pods[3], Finding::Invalid("its nodeType is not indexer".into()));
    let said = message(&bench).unwrap();
    assert!(said.ends_with("its nodeType is not indexer"), "{said}");
    bench.read(&pods[2], failed("it is\nslow"));
    let said = message(&bench).unwrap();
    assert_eq!(
        said,
        "the announcement of 10.0.0.3:8091 cannot be read: it is slow"
    );
    // Details are no change.
    bench.read(&pods[2], failed("it is slower"));
    assert_eq!(message(&bench).unwrap(), said);
    bench.read(&pods[1], Finding::Hidden);
    let asked = bench.checks.ask(bench.now);
    bench.checks.listed(asked, Err("no leader".into()), bench.now);
    bench.pass(1);
    assert_eq!(
        message(&bench).as_deref(),
        Some("the overlord's workers are not known: no leader")
    );
    bench.read(&pods[2], Finding::NoSession);
    let said = message(&bench).unwrap();
    assert!(said.contains("no session with ZooKeeper"), "{said}");
    bench.ask(&["10.0.0.2:8091"]);
    assert_eq!(
        message(&bench).as_deref(),
        Some("the overlord lists 10.0.0.2:8091 as a worker, and assigns tasks to it")
    );
    bench.read(&pods[0], Finding::OffersWorker);
    assert_eq!(
        message(&bench).as_deref(),
        Some("10.0.0.1:8091 announces workerNodeService: the overlord assigns tasks to it")
    );
    bench.pass(10);
    let written = bench.write(Written::Kept);
    assert_eq!(
        (written.hidden.len(), written.visible),
        (0, vec!["0001".to_owned(), "0002".to_owned()])
    );
    assert_eq!(written.message, message(&bench));
    // What is over is not said any more.
    bench.see(&pods[4..]);
    bench.read(&pods[4], Finding::Hidden);
    bench.ask(&[]);
    assert_eq!(message(&bench), None);
}

#[test]
fn lists_and_messages_are_bounded() {
    let mut pods: Vec<_> = (0..1100).map(pod).collect();
    // The first ones go.
    pods.iter_mut().take(50).for_each(|pod| pod.is_terminating = true);
    let mut bench = Bench::new(&pods);
    for pod in &pods {
        let read = Read {
            uid: pod.uid.clone(),
            endpoint: pod.ready.clone().unwrap(),
        };
        bench.checks.read(&read, Finding::Hidden, bench.now);
    }
    bench.ask(&[]);
    let written = bench.write(Written::Kept);
    assert_eq!(written.hidden.len(), 1000);
    assert_eq!(written.hidden[0], "0050");
    for (length, kept) in [(511, 511), (512, 512), (513, 512), (9999, 512)] {
        assert_eq!(limited(&"ä".repeat(length)).chars().count(), kept);
    }
    assert!(limited(&"ä".repeat(513)).ends_with('…'));
}
