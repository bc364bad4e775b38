use super::*;
use serde_json::json;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn parse(value: Value) -> Result<Payload, InvalidPayload> {
    Payload::parse(&object(value), "my-name")
}

/// A supervisor spec belongs to another endpoint of the overlord; a peon cannot run it.
#[test]
fn the_spec_of_a_supervisor_is_no_task() {
    for type_ in ["kafka", "kinesis", "rabbit", "autocompact", "scheduled_batch"] {
        let spec = format!(r#"{{"type": "{type_}", "spec": {{"ioConfig": {{}}}}, "suspended": false}}"#);
        let refused = Payload::parse_inline(&spec, "a").unwrap_err();
        assert_eq!(refused, InvalidPayload::Supervisor(type_.to_owned()));
        assert!(
            refused.to_string().contains("/druid/indexer/v1/supervisor"),
            "{refused}"
        );
    }
}

#[test]
fn the_id_is_the_only_thing_added() {
    let payload = parse(json!({"type": "noop", "runTime": 9_007_199_254_740_993_i64})).unwrap();
    assert_eq!(payload.id, "my-name");
    let written: Value = serde_json::from_str(&payload.json).unwrap();
    assert_eq!(
        written,
        json!({"type": "noop", "id": "my-name", "runTime": 9_007_199_254_740_993_i64})
    );
}

#[test]
fn finds_the_datasource_wherever_druid_keeps_it() {
    let batch = json!({"type": "index_parallel", "spec": {"dataSchema": {"dataSource": "w"}}});
    assert_eq!(parse(batch).unwrap().data_source.as_deref(), Some("w"));
    let streaming = json!({"type": "index_kafka", "dataSchema": {"dataSource": "k"}});
    assert_eq!(parse(streaming).unwrap().data_source.as_deref(), Some("k"));
    assert_eq!(parse(json!({"type": "noop"})).unwrap().data_source, None);
}

#[test]
fn each_kind_of_bad_payload_is_named() {
    assert_eq!(parse(json!({})), Err(InvalidPayload::NoType));
    assert_eq!(parse(json!({"type": ""})), Err(InvalidPayload::NoType));
    assert_eq!(
        parse(json!({"type": "noop", "id": 7})),
        Err(InvalidPayload::IdNotString)
    );
    assert_eq!(
        parse(json!({"type": "noop", "context": []})),
        Err(InvalidPayload::ContextNotObject)
    );
    assert!(matches!(
        parse(json!({"type": "noop", "id": "a/b"})),
        Err(InvalidPayload::IllegalId { .. })
    ));
    assert!(matches!(
        Payload::parse_inline("[]", "n"),
        Err(InvalidPayload::NotJson(_))
    ));
    let large = json!({"type": "noop", "x": "y".repeat(LARGEST_INLINE)});
    assert!(matches!(parse(large), Err(InvalidPayload::TooLarge { .. })));
}

#[test]
fn the_hash_does_not_depend_on_the_order_of_keys() {
    let one = parse(json!({"type": "noop", "a": 1, "b": 2})).unwrap();
    let two = parse(json!({"b": 2, "type": "noop", "a": 1})).unwrap();
    assert_eq!(one.hash, two.hash);
}

/// Numbers, order, white space and escapes are whoever wrote the task's.
#[test]
fn text_is_kept_to_the_byte() {
    let json = "  {\"n\" : 123456789012345678901234567890.10, \"type\":\"noop\",\n\"e\":\"\\u00fc\", \"id\":\"x\" } ";
    assert_eq!(Payload::parse_inline(json, "n").unwrap().json, json);
    let without = " {\"type\": \"noop\", \"n\": 1e400}";
    let payload = Payload::parse_inline(without, "n\"").unwrap();
    assert_eq!(
        payload.json,
        " {\"id\":\"n\\\"\",\"type\": \"noop\", \"n\": 1e400}"
    );
    let null = "{\"type\": \"noop\", \"id\" : null , \"n\": null}";
    let payload = Payload::parse_inline(null, "x").unwrap();
    assert_eq!(payload.json, "{\"type\": \"noop\", \"id\" : \"x\" , \"n\": null}");
    assert_eq!(payload.id, "x");
}

#[test]
fn what_is_no_json_object_says_where() {
    for json in [
        "",
        "null",
        "[1]",
        "{\"type\": \"noop\"} x",
        "{\"type\": \"noop\"",
        "\u{feff}{\"type\": \"noop\"}",
    ] {
        let error = Payload::parse_inline(json, "n").unwrap_err();
        assert!(matches!(error, InvalidPayload::NotJson(_)), "{json}: {error}");
    }
    let bytes = Payload::parse_chunked(b"{\"type\": \"\xff\"}", "n").unwrap_err();
    assert!(matches!(bytes, InvalidPayload::NotJson(_)), "{bytes}");
    let deep = format!(
        "{{\"type\": \"noop\", \"x\": {}{}}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    assert!(
        Payload::parse_chunked(deep.as_bytes(), "n").is_ok(),
        "Druid's own limits are Druid's"
    );
}

#[test]
fn what_may_be_run_again() {
    let safe = |task: Value| parse(task).unwrap().safe_to_rerun;
    assert!(
        safe(json!({"type": "noop"}))
            && safe(json!({"type": "kill"}))
            && safe(json!({"type": "index_kafka"}))
    );
    assert!(safe(
        json!({"type": "index", "spec": {"ioConfig": {"type": "index"}}})
    ));
    assert!(safe(
        json!({"type": "index", "spec": {"ioConfig": {"appendToExisting": false}}})
    ));
    assert!(!safe(
        json!({"type": "index", "spec": {"ioConfig": {"appendToExisting": true}}})
    ));
    assert!(!safe(json!({"type": "index_parallel"})) && !safe(json!({"type": "compact"})));
}

#[test]
fn a_subtask_is_told_from_its_supervisor() {
    let one = parse(
        json!({"type": "single_phase_sub_task", "id": "a", "supervisorTaskId": "s", "subtaskSpecId": "s_0"}),
    );
    let again = parse(
        json!({"type": "single_phase_sub_task", "id": "b", "supervisorTaskId": "s", "subtaskSpecId": "s_0"}),
    );
    let other = parse(
        json!({"type": "single_phase_sub_task", "id": "c", "supervisorTaskId": "s", "subtaskSpecId": "s_1"}),
    );
    let (one, again, other) = (one.unwrap(), again.unwrap(), other.unwrap());
    assert!(!one.safe_to_rerun);
    assert_eq!(one.subtask_key(), again.subtask_key());
    assert_ne!(one.subtask_key(), other.subtask_key());
    let itself = parse(json!({"type": "noop", "id": "s", "supervisorTaskId": "s"})).unwrap();
    assert_eq!((itself.subtask_key(), itself.safe_to_rerun), (None, true));
}

#[test]
fn a_payload_is_not_printed() {
    let payload = parse(json!({"type": "noop", "context": {"password": "marked"}})).unwrap();
    assert!(!format!("{payload:?}").contains("marked"));
}

#[test]
fn the_broadcast_mode_is_one_of_three() {
    let mode = |context: Value| {
        parse(json!({"type": "kill", "context": context}))
            .unwrap()
            .broadcast_mode()
    };
    assert_eq!(mode(json!({})), Ok("NONE"));
    assert_eq!(
        mode(json!({"broadcastDatasourceLoadingMode": "ONLY_REQUIRED"})),
        Ok("ONLY_REQUIRED")
    );
    assert!(mode(json!({"broadcastDatasourceLoadingMode": "$(id)"})).is_err());
}

/// A field that cannot be read is not one that is not there.
#[test]
fn settings_are_never_dropped_in_silence() {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    for bad in ["1e400", "\"\\ud800\"", &deep] {
        for json in [
            format!("{{\"type\": \"noop\", \"id\": {bad}}}"),
            format!("{{\"type\": \"noop\", \"supervisorTaskId\": {bad}}}"),
            format!("{{\"type\": \"noop\", \"context\": {{\"druid.peon.pod.memory\": {bad}}}}}"),
            format!("{{\"type\": \"index\", \"spec\": {{\"ioConfig\": {{\"appendToExisting\": {bad}}}}}}}"),
        ] {
            let error = Payload::parse_inline(&json, "n").unwrap_err();
            assert!(error.to_string().contains("cannot be read"), "{json}: {error}");
        }
        let other = format!(
            "{{\"type\": \"noop\", \"context\": {{\"druid.peon.pod.memory\": \"4Gi\", \"x\": {bad}}}}}"
        );
        let payload = Payload::parse_inline(&other, "n").unwrap();
        assert_eq!(
            Value::Object(payload.context),
            json!({"druid.peon.pod.memory": "4Gi"})
        );
    }
}

/// Druid takes the first `type` and the last of other fields.
#[test]
fn a_field_that_is_there_twice_is_refused() {
    for json in [
        "{\"type\": \"index\", \"type\": \"noop\"}",
        "{\"type\": \"noop\", \"id\": \"a\", \"\\u0069d\": \"b\"}",
        "{\"type\": \"index\", \"spec\": {\"ioConfig\": {\"appendToExisting\": true, \"appendToExisting\": false}}}",
    ] {
        let error = Payload::parse_inline(json, "n").unwrap_err();
        assert!(error.to_string().contains("more than once"), "{json}: {error}");
    }
    let unread = "{\"type\": \"noop\", \"id\": \"a\", \"x\": 1, \"x\": 2}";
    assert_eq!(Payload::parse_inline(unread, "n").unwrap().json, unread);
}

#[test]
fn a_payload_in_chunks_is_not_kept() {
    for json in [" {\"type\": \"noop\"}", "{\"type\": \"noop\", \"id\" : null }"] {
        let chunked = Payload::parse_chunked(json.as_bytes(), "x").unwrap();
        let inline = Payload::parse_inline(json, "x").unwrap();
        let added = chunked.added.unwrap();
        let whole = [&json[..added.at], &added.text, &json[added.until..]].concat();
        assert_eq!((chunked.json.as_str(), whole), ("", inline.json));
        assert_eq!((chunked.hash, chunked.id), (inline.hash, inline.id));
    }
}

#[test]
fn what_druid_takes_for_true_appends() {
    let safe = |json: &str| {
        let json =
            format!("{{\"type\": \"index\", \"spec\": {{\"ioConfig\": {{\"appendToExisting\": {json}}}}}}}");
        Payload::parse_inline(&json, "n").unwrap().safe_to_rerun
    };
    assert!(safe("false") && safe("null"));
    assert!(!safe("true") && !safe("1") && !safe("\"true\""));
    assert!(
        parse(json!({"type": "index_realtime_appenderator"}))
            .unwrap()
            .safe_to_rerun
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..5)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn an_added_id_changes_no_other_byte(
            entries in prop::collection::btree_map("[a-z]{0,3}x", any_json(), 0..6),
            pretty in any::<bool>(),
            null in any::<bool>(),
            id in "[a-zA-Z\"\\\\ü:]{1,20}",
        ) {
            let mut task: Map<String, Value> = entries.into_iter().collect();
            task.insert("type".into(), "noop".into());
            if null {
                task.insert("id".into(), Value::Null);
            }
            let print = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let json = print(&task).unwrap();
            let payload = Payload::parse_inline(&json, &id).unwrap();
            let added = payload.added.unwrap();
            prop_assert_eq!(&payload.json[..added.at], &json[..added.at]);
            prop_assert_eq!(&payload.json[added.at + added.text.len()..], &json[added.until..]);
            let read: Map<String, Value> = serde_json::from_str(&payload.json).unwrap();
            task.insert("id".into(), id.into());
            prop_assert_eq!(read, task);
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC*") {
            let _ = Payload::parse_chunked(&bytes, "n");
            let _ = Payload::parse_inline(&text, "n");
            let _ = Payload::parse_inline(&format!("{{\"type\": \"noop\", {text}}}"), "n");
        }
    }
}

#[test]
fn a_task_that_leaves_its_rows_to_subtasks_is_known() {
    let parallel =
        |tuning: Value| json!({"type": "index_parallel", "id": "a", "spec": {"tuningConfig": tuning}});
    let compact = |tuning: Value| json!({"type": "compact", "id": "a", "tuningConfig": tuning});
    let subtasks = |most: Value| json!({"maxNumConcurrentSubTasks": most});
    let table = [
        (json!({"type": "kill", "id": "a"}), true),
        (json!({"type": "noop", "id": "a"}), false),
        (parallel(subtasks(json!(2))), true),
        (parallel(subtasks(json!("4"))), true),
        (parallel(subtasks(json!(1))), false),
        (parallel(json!({})), false),
        (parallel(json!(null)), false),
        (compact(subtasks(json!(3))), true),
        (compact(json!({})), false),
        // Its own subtasks read rows.
        (
            json!({"type": "single_phase_sub_task", "id": "a", "spec": {"tuningConfig": subtasks(json!(4))}}),
            false,
        ),
    ];
    for (task, delegates) in table {
        assert_eq!(parse(task.clone()).unwrap().delegates, delegates, "{task}");
    }
}

#[test]
fn replicas_have_an_availability_group() {
    let of = |resource: Value| {
        let task = json!({"type": "noop", "id": "a", "resource": resource});
        parse(task).unwrap().availability_group
    };
    assert_eq!(
        of(json!({"availabilityGroup": "g", "requiredCapacity": 1})).as_deref(),
        Some("g")
    );
    for none in [
        json!(null),
        json!({}),
        json!({"availabilityGroup": ""}),
        json!("g"),
    ] {
        assert_eq!(of(none.clone()), None, "{none}");
    }
}
