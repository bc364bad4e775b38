use super::*;
use crate::cli::tasks::tests::task;
use clap::Parser;
use serde_json::json;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    submit: Submit,
}

fn submit(args: &[&str]) -> Submit {
    Line::try_parse_from([&["submit"], args].concat()).unwrap().submit
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    assert!(Line::try_parse_from(["submit", "a", "--name", "b"]).is_err());
    assert!(Line::try_parse_from(["submit", "--timeout", "5m"]).is_err());
    assert!(Line::try_parse_from(["submit", "--wait", "--dry-run=client"]).is_err());
    assert!(Line::try_parse_from(["submit", "--label", "x"]).is_err());
    let given = submit(&[
        "a",
        "--label",
        "x=1",
        "--label",
        "y=2=3",
        "--wait",
        "--timeout",
        "5m",
    ]);
    assert_eq!(
        given.labels,
        [("x".into(), "1".into()), ("y".into(), "2=3".into())]
    );
    assert_eq!(given.timeout, Some(Duration::from_secs(300)));
}

#[test]
fn a_dry_run_prints_what_would_be_created() {
    let wishes = Wishes {
        name: Some("a".into()),
        ..Wishes::default()
    };
    let new = [new_task::of_payload("{\"type\":\"noop\"}", &wishes).unwrap()];
    let yaml = submit(&["--dry-run=client"]).sketch(&new, Some("druid")).unwrap();
    let back = input::read(&yaml).unwrap();
    let [Document::Task(back)] = back.as_slice() else {
        panic!("{yaml}")
    };
    assert_eq!(back.spec.task_json.as_deref(), Some("{\"type\":\"noop\"}"));
    assert_eq!(back.namespace().as_deref(), Some("druid"));
    let name = submit(&["--dry-run=client", "-o", "name"])
        .sketch(&new, None)
        .unwrap();
    assert_eq!(name, "peontask.peon.dev/a\n");
}

#[test]
fn all_tasks_of_a_submission_are_in_one_namespace() {
    let of = |namespace: Option<&str>| {
        let mut task = task("a", json!({"task": {"type": "noop"}}), json!({}));
        task.metadata.namespace = namespace.map(str::to_owned);
        new_task::of_task(task, &Wishes::default()).unwrap()
    };
    assert_eq!(namespace(&[of(None)], None).unwrap(), None);
    assert_eq!(
        namespace(&[of(Some("x")), of(None)], Some("x"))
            .unwrap()
            .as_deref(),
        Some("x")
    );
    assert!(namespace(&[of(Some("x"))], Some("y")).is_err());
}

#[test]
fn another_payload_under_the_same_name_is_an_error_that_says_so() {
    let json_of = |text: &str| task("a", json!({"taskJson": text}), json!({}));
    assert!(repeated(json_of("{}"), &json_of("{}")).is_ok());
    let error = repeated(json_of("{}"), &json_of("[]")).unwrap_err().to_string();
    assert!(error.contains("exists already, with another payload"), "{error}");
}
