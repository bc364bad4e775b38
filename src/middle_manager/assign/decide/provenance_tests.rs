use serde_json::json;

use super::*;

fn provenance() -> Provenance {
    Provenance {
        middle_manager: "vmm-uid".into(),
        name: "nightly".into(),
        uid: "task-uid".into(),
        task_id: "t".into(),
        task_hash: "sha256:x".into(),
    }
}

#[test]
fn what_is_sent_is_what_was_given_and_where_it_comes_from() {
    let said = serde_json::to_string(&provenance()).unwrap();
    let entry = format!("\"{KEY}\":{said}");
    let table = [
        (
            r#" {"type":"noop", "id":"t", "n": 1.50e3, "big":123456789012345678901234567890}"#,
            format!(
                r#" {{"context":{{{entry}}},"type":"noop", "id":"t", "n": 1.50e3, "big":123456789012345678901234567890}}"#
            ),
        ),
        (
            r#"{"type":"noop","id":"t","context": { }}"#,
            format!(r#"{{"type":"noop","id":"t","context": {{{entry} }}}}"#),
        ),
        (
            r#"{"context":{"priority":7},"type":"noop","id":"t"}"#,
            format!(r#"{{"context":{{{entry},"priority":7}},"type":"noop","id":"t"}}"#),
        ),
        (
            r#"{"type":"noop","id":"t","context":null}"#,
            format!(r#"{{"type":"noop","id":"t","context":{{{entry}}}}}"#),
        ),
        (
            r#"{"type":"noop","id":null}"#,
            format!(r#"{{"context":{{{entry}}},"type":"noop","id":"t"}}"#),
        ),
        (
            r#"{"type":"noop"}"#,
            format!(r#"{{"context":{{{entry}}},"id":"t","type":"noop"}}"#),
        ),
    ];
    for (given, sent) in table {
        let document = Document::read(given, "t").unwrap();
        assert_eq!(document.text(&provenance()).unwrap(), sent);
        assert_eq!(Provenance::read(&sent, "t"), Some(provenance()));
        assert_eq!(document.is_kept_in(&sent), Ok(()));
    }
}

#[test]
fn a_subtask_inherits_the_context_and_is_not_taken_for_its_parent() {
    let sent = Document::read(r#"{"type":"noop"}"#, "t")
        .unwrap()
        .text(&provenance())
        .unwrap();
    assert_eq!(Provenance::read(&sent, "single_phase_sub_task_t"), None);
    for odd in [
        "{}",
        "",
        r#"{"context":7}"#,
        r#"{"context":{"peon.dev/submission":"x"}}"#,
    ] {
        assert_eq!(Provenance::read(odd, "t"), None, "{odd}");
    }
}

#[test]
fn a_task_that_says_itself_where_it_comes_from_is_refused() {
    for context in [
        json!({KEY: {"uid": "another's"}}).to_string(),
        json!({KEY: null}).to_string(),
        format!("{{\"{KEY}\":1,\"{KEY}\":2}}"),
        "{\"peon.dev\\u002fsubmission\":1}".to_owned(),
    ] {
        let task = format!(r#"{{"type":"noop","context":{context}}}"#);
        assert_eq!(Document::read(&task, "t"), Err(Unfit::Reserved), "{task}");
    }
    assert!(matches!(Document::read("[]", "t"), Err(Unfit::Invalid(_))));
}

#[test]
fn what_comes_back_may_have_more_and_nothing_else() {
    let given = r#"{"type":"index_parallel","id":"t","context":{"priority":7,"x":{"a":[1]}},"spec":{"a":1}}"#;
    let document = Document::read(given, "t").unwrap();
    let back = |change: &dyn Fn(&mut Value)| {
        let mut value = json!({
            "type": "index_parallel", "id": "t", "groupId": "t", "dataSource": "wiki", "resource": {},
            "spec": {"a": 1, "b": null},
            "context": {"priority": 7, "x": {"a": [1]}, "forceTimeChunkLock": true},
        });
        change(&mut value);
        document.is_kept_in(&value.to_string())
    };
    assert_eq!(back(&|_| {}), Ok(()), "Druid adds defaults");
    for (what, change) in [
        ("type", json!("index")),
        ("id", json!("u")),
        ("context", json!({"priority": 8, "x": {"a": [1]}})),
        ("context", json!({"priority": 7})),
        ("context", Value::Null),
    ] {
        let different = back(&|value| value[what] = change.clone()).unwrap_err();
        assert!(different.contains("differs"), "{different}");
    }
    let named = Document::read(r#"{"type":"noop","id":"t","dataSource":"a"}"#, "t").unwrap();
    assert!(
        named
            .is_kept_in(r#"{"type":"noop","id":"t","dataSource":"b"}"#)
            .is_err()
    );
}
