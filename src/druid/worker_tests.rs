use super::*;
use crate::druid::smile;

macro_rules! wire {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/druid-wire/overlord-worker/",
                $name,
                ".response.body.smile"
            ))
            .as_slice(),
            include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/druid-wire/overlord-worker/",
                $name,
                ".response.body.decoded.json"
            ))
            .as_slice(),
        )
    };
}

/// What a MiddleManager of Druid 33.0.0 answered, as it was sent and as it was read.
const RECORDED: [(&str, &[u8], &[u8]); 5] = [
    wire!("00-first-poll-fullsync"),
    wire!("01-second-poll-delta"),
    wire!("03-poll-after-assign-a"),
    wire!("04-poll-after-assign-b"),
    wire!("05-poll-task-done"),
];

fn noop(id: &str) -> TaskFacts {
    TaskFacts {
        id: id.into(),
        task_type: "noop".into(),
        data_source: "none".into(),
        resource: TaskResource::one(id),
    }
}

#[test]
fn recorded_answers_are_read_and_written_to_the_byte() {
    for (name, smile, json) in RECORDED {
        let answer: Answer = serde_smile::from_slice(smile).unwrap();
        let as_json: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!(
            serde_json::from_value::<Answer>(as_json.clone()).unwrap(),
            answer,
            "{name}"
        );
        assert_eq!(serde_json::to_value(&answer).unwrap(), as_json, "{name}");
        assert_eq!(smile::encode(&answer).unwrap(), smile, "{name}");
    }
}

#[test]
fn what_is_built_is_what_a_real_worker_says() {
    let update = |of: usize| {
        let answer: Answer = serde_smile::from_slice(RECORDED[of].1).unwrap();
        let Some([Change::TaskUpdate { task_announcement }]) = answer.requests.as_deref() else {
            panic!("one update is recorded");
        };
        task_announcement.as_ref().clone()
    };
    let task = noop("noop_2026-11-21T01:50:17.060Z_feaaea03-68f1-450d-97a4-b165c2f90fbc");
    let there = TaskLocation::http("127.0.0.1", 18100);
    assert_eq!(
        TaskAnnouncement::running(task.clone(), TaskLocation::unknown()),
        update(1)
    );
    assert_eq!(TaskAnnouncement::running(task.clone(), there.clone()), update(3));
    assert_eq!(
        TaskAnnouncement::ended(task, End::Success, 29_801, there),
        update(4)
    );
}

#[test]
fn the_other_answers_have_the_shape_of_druid() {
    let reset = serde_json::to_string(&Answer::reset("why".into())).unwrap();
    assert_eq!(
        reset,
        r#"{"resetCounter":true,"resetCause":"why","counter":null,"requests":null}"#
    );
    let removal = Change::TaskRemoval {
        task_id: "old".into(),
    };
    let answer = Answer::changes(Counter { counter: 7, hash: -3 }, vec![removal]);
    assert_eq!(
        serde_json::to_string(&answer).unwrap(),
        r#"{"resetCounter":false,"resetCause":null,"counter":{"counter":7,"hash":-3},"requests":[{"type":"taskRemoval","taskId":"old"}]}"#
    );
    let location = TaskLocation::https("10.0.0.9", 8091).in_pod("pod-x");
    assert_eq!(
        serde_json::to_string(&location).unwrap(),
        r#"{"host":"10.0.0.9","port":-1,"tlsPort":8091,"k8sPodName":"pod-x"}"#
    );
}

fn error(message: &str) -> String {
    let failed = End::Failed(message.into());
    let ended = TaskAnnouncement::ended(noop("a"), failed, 1, TaskLocation::unknown());
    assert_eq!(ended.status, TaskState::Failed);
    ended.task_status.error_msg.unwrap()
}

#[test]
fn a_long_error_loses_its_middle_and_is_not_cut_again() {
    for whole in ["", "short", &"x".repeat(1024), &"😀".repeat(512)] {
        assert_eq!(error(whole), whole);
    }
    let long = format!("{}{}{}", "a".repeat(600), "b".repeat(99_000), "c".repeat(600));
    let cut = error(&long);
    assert!((1000..=LONGEST_ERROR).contains(&cut.encode_utf16().count()));
    assert!(cut.starts_with(&"a".repeat(490)) && cut.ends_with(&"c".repeat(490)));
    let left_out =
        long.len() - cut.matches(['a', 'b', 'c']).count() + "characters".matches(['a', 'c']).count();
    assert!(
        cut.contains(&format!("...{left_out} characters omitted...")),
        "{cut}"
    );
    assert_eq!(error(&cut), cut);
    for odd in [
        format!("x{}", "😀".repeat(600)),
        "😀".repeat(513),
        "ü".repeat(1025),
    ] {
        let cut = error(&odd);
        assert!(cut.encode_utf16().count() <= LONGEST_ERROR && cut.contains(" characters omitted..."));
    }
}
