use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn worker() -> Worker {
    Worker {
        host: "bridge.druid.svc".into(),
        port: 8091,
        tls: false,
        ip: "10.0.0.5".into(),
        capacity: 50,
        category: "_default_worker_category".into(),
        version: "0".into(),
    }
}

fn process(instance: &str, started: &str) -> Process {
    Process {
        instance: instance.into(),
        started: started.parse().unwrap(),
    }
}

fn ours() -> Process {
    process("ours", "2026-11-21T01:55:03.157Z")
}

fn announcement(worker: &Worker, process: &Process) -> Vec<u8> {
    serde_json::to_vec(&worker.announcement(process)).unwrap()
}

/// What a real Druid 37 writes for such a worker.
fn of_druid() -> Value {
    json!({
        "druidNode": {
            "service": "druid/middleManager", "host": "bridge.druid.svc", "bindOnHost": false,
            "plaintextPort": 8091, "port": -1, "tlsPort": -1,
            "enablePlaintextPort": true, "enableTlsPort": false,
            "labels": null, "version": "37.0.0", "buildRevision": "..."
        },
        "nodeType": "middleManager",
        "services": {
            "workerNodeService": {
                "type": "workerNodeService", "ip": "10.0.0.5", "capacity": 50, "version": "0",
                "category": "_default_worker_category"
            }
        },
        "startTime": "2026-11-21T01:55:03.157Z", "availableProcessors": 4, "totalMemory": 123
    })
}

#[test]
fn is_what_druid_writes_but_for_the_machine_and_the_process() {
    let written: Value = serde_json::from_slice(&announcement(&worker(), &ours())).unwrap();
    let mut expected = of_druid();
    let top = expected.as_object_mut().unwrap();
    top.remove("availableProcessors");
    top.remove("totalMemory");
    let node = top["druidNode"].as_object_mut().unwrap();
    node.remove("version");
    node.remove("buildRevision");
    node["labels"] = json!({"peon.dev/instance": "ours"});
    assert_eq!(written, expected);
}

#[test]
fn with_tls_there_is_no_other_port() {
    let worker = Worker {
        tls: true,
        ..worker()
    };
    let node = worker.announcement(&ours()).druid_node;
    assert_eq!((node.plaintext_port, node.enable_plaintext_port), (-1, false));
    assert_eq!((node.tls_port, node.enable_tls_port), (8091, true));
    assert_eq!(worker.address(), "bridge.druid.svc:8091");
}

#[test]
fn reads_what_druid_writes() {
    let read: Announcement = serde_json::from_value(of_druid()).unwrap();
    assert_eq!(read.druid_node.labels, None);
    assert_eq!(read.services.worker_node_service.capacity, 50);
}

#[test]
fn an_address_of_version_6_stands_in_brackets() {
    let worker = Worker {
        host: "fd00::1".into(),
        ..worker()
    };
    assert_eq!(worker.address(), "[fd00::1]:8091");
    assert_eq!(worker.announcement(&ours()).druid_node.host, "fd00::1");
}

#[test]
fn times_have_milliseconds_and_no_more() {
    for (time, written) in [
        ("2026-11-21T01:55:03Z", "2026-11-21T01:55:03.000Z"),
        ("2026-11-21T01:55:03.157999Z", "2026-11-21T01:55:03.157Z"),
    ] {
        assert_eq!(worker().announcement(&process("p", time)).start_time, written);
    }
}

#[test]
fn base_paths_are_read_as_druid_reads_them() {
    for (text, path) in [
        ("druid", "/druid/internal-discovery/MIDDLE_MANAGER"),
        ("/druid", "/druid/internal-discovery/MIDDLE_MANAGER"),
        ("/druid/", "/druid/internal-discovery/MIDDLE_MANAGER"),
        ("a/b", "/a/b/internal-discovery/MIDDLE_MANAGER"),
        ("/", "/internal-discovery/MIDDLE_MANAGER"),
        ("", "/internal-discovery/MIDDLE_MANAGER"),
    ] {
        assert_eq!(BasePath::new(text).unwrap().workers(), path, "{text:?}");
    }
    for text in ["//", "a//b", "/a/./b", "..", "/a/..", "a\u{1}"] {
        assert!(BasePath::new(text).is_err(), "{text:?}");
    }
}

#[test]
fn judges_what_stands() {
    let mine = announcement(&worker(), &ours());
    let of = |instance, started| announcement(&worker(), &process(instance, started));
    let larger = Worker {
        capacity: 51,
        ..worker()
    };
    let yields = |to: &str| Judgement::Yield { to: to.into() };
    let replace = || Judgement::Replace;
    let mut younger = of_druid();
    younger["startTime"] = json!("2026-11-21T02:00:00.000Z");
    let table = [
        ("ours", mine.clone(), Keeper::ThisSession, Judgement::Stands),
        (
            "outdated",
            announcement(&larger, &ours()),
            Keeper::ThisSession,
            replace(),
        ),
        (
            "garbage of this session",
            b"x".to_vec(),
            Keeper::ThisSession,
            replace(),
        ),
        (
            "ours of a session that is over",
            mine.clone(),
            Keeper::OtherSession,
            replace(),
        ),
        ("ours, for ever", mine.clone(), Keeper::Nobody, replace()),
        (
            "younger, for ever",
            of("other", "2027-01-01T00:00:00Z"),
            Keeper::Nobody,
            replace(),
        ),
        (
            "older",
            of("other", "2026-11-21T01:55:03.156Z"),
            Keeper::OtherSession,
            replace(),
        ),
        (
            "younger",
            of("other", "2026-11-21T01:55:03.158Z"),
            Keeper::OtherSession,
            yields("other"),
        ),
        (
            "same time, later name",
            of("z", "2026-11-21T01:55:03.157Z"),
            Keeper::OtherSession,
            yields("z"),
        ),
        (
            "same time, earlier name",
            of("a", "2026-11-21T01:55:03.157Z"),
            Keeper::OtherSession,
            replace(),
        ),
        ("garbage", b"\x1f\x8b".to_vec(), Keeper::OtherSession, replace()),
        ("nothing", Vec::new(), Keeper::OtherSession, replace()),
        (
            "of Druid, same time",
            of_druid().to_string().into_bytes(),
            Keeper::OtherSession,
            replace(),
        ),
        (
            "of Druid, younger",
            younger.to_string().into_bytes(),
            Keeper::OtherSession,
            yields("a process that is not ours"),
        ),
    ];
    for (what, standing, keeper, expected) in table {
        assert_eq!(ours().judge(&standing, keeper, &mine), expected, "{what}");
    }
}

proptest! {
    /// Whatever two processes are, one of them has the worker and the other leaves it alone.
    #[test]
    fn one_of_two_yields(
        names in ("[a-c]{1,2}", "[a-c]{1,2}").prop_filter("one process", |(a, b)| a != b),
        micros in (0..3000_i64, 0..3000_i64),
    ) {
        let began = |micros| Timestamp::from_microsecond(1_795_226_103_000_000 + micros).unwrap();
        let one = Process { instance: names.0, started: began(micros.0) };
        let two = Process { instance: names.1, started: began(micros.1) };
        let judge = |me: &Process, other: &Process| {
            let (mine, its) = (announcement(&worker(), me), announcement(&worker(), other));
            matches!(me.judge(&its, Keeper::OtherSession, &mine), Judgement::Yield { .. })
        };
        prop_assert_ne!(judge(&one, &two), judge(&two, &one));
    }
}

#[test]
fn indexers_are_beside_the_middle_managers() {
    for (base, path) in [
        ("druid", "/druid/internal-discovery/INDEXER/10.1.2.3:8091"),
        ("/", "/internal-discovery/INDEXER/10.1.2.3:8091"),
    ] {
        assert_eq!(BasePath::new(base).unwrap().indexer("10.1.2.3:8091"), path);
    }
}
