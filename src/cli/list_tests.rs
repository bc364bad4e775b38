use super::*;
use crate::cli::tasks::tests::{at, task};
use clap::Parser;
use serde_json::json;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    list: List,
}

fn list(args: &[&str]) -> List {
    Line::try_parse_from([&["list"], args].concat()).unwrap().list
}

fn oom() -> PeonTask {
    let status = json!({
        "phase": "Running", "reason": "Running", "taskType": "index_parallel", "dataSource": "wiki\u{1b}[31m",
        "taskId": "index wiki", "attempt": 2, "memory": "3G", "cpu": "1", "run": {"kind": "Pod", "pod": "nightly-2"},
        "template": "default", "nodeName": "n1", "startTime": "2026-11-21T08:00:30Z",
    });
    task("nightly", json!({}), status)
}

#[test]
fn the_table_shows_what_matters_and_wide_the_rest() {
    let narrow = list(&[]);
    assert_eq!(
        output::table(&narrow.head(), &[narrow.row(&oom(), at(90))]),
        "NAME      TYPE             DATASOURCE       PHASE     REASON    ATTEMPT   MEMORY   DURATION   AGE\n\
         nightly   index_parallel   wiki\\u001b[31m   Running   Running   2         3G       60s        90s\n"
    );
    let wide = list(&["-A", "-o", "wide"]);
    assert_eq!(
        wide.row(&oom(), at(90)),
        [
            "druid",
            "nightly",
            "index_parallel",
            "wiki\\u001b[31m",
            "Running",
            "Running",
            "2",
            "3G",
            "60s",
            "90s",
            "1",
            "default",
            "Pod",
            "-",
            "nightly-2",
            "n1",
            "-",
            "index wiki",
            "-"
        ]
    );
    assert_eq!(wide.head().len(), 19);
    let new = task("new", json!({}), json!({}));
    assert_eq!(
        narrow.row(&new, at(5)),
        ["new", "-", "-", "Pending", "-", "-", "-", "-", "5s"]
    );
}

#[test]
fn wide_says_where_a_task_runs_and_why() {
    let mut task = oom();
    task.status.as_mut().unwrap().run = serde_json::from_value(json!({
        "kind": "Worker", "pool": "warm", "pod": "warm-a", "podUID": "i", "reason": "warm-a was\nidle",
    }))
    .unwrap();
    let wide = list(&["-o", "wide"]);
    let row = wide.row(&task, at(90));
    let cell = |column: &str| &row[wide.head().iter().position(|head| *head == column).unwrap()];
    let found = ["RUNS-IN", "POOL", "POD", "WHY-THERE"].map(cell);
    assert_eq!(found, ["Worker", "warm", "warm-a", "warm-a was idle"]);
}

#[test]
fn filters_are_left_to_the_api_server() {
    assert_eq!(list(&[]).fields(), None);
    let all = list(&[
        "--phase",
        "failed",
        "--type",
        "index_kafka",
        "--datasource",
        "a,b=c\\",
    ]);
    assert_eq!(
        all.fields().as_deref(),
        Some(r"status.phase=Failed,status.taskType=index_kafka,status.dataSource=a\,b\=c\\")
    );
    assert!(Line::try_parse_from(["list", "--phase", "Lost"]).is_err());
}

#[test]
fn a_list_is_sorted_by_a_column() {
    let with = |name: &str, status: serde_json::Value| task(name, json!({}), status);
    let all = [
        with(
            "c",
            json!({"memory": "1Gi", "startTime": "2026-11-21T08:00:30Z", "reason": "Running"}),
        ),
        with("a", json!({"memory": "900Mi"})),
        with(
            "b",
            json!({"startTime": "2026-11-21T07:00:30Z", "reason": "OOMKilled"}),
        ),
    ];
    for (by, expected) in [
        ("name", ["a", "b", "c"]),
        (".metadata.name", ["a", "b", "c"]),
        ("memory", ["a", "c", "b"]),
        ("start", ["b", "c", "a"]),
        ("reason", ["b", "c", "a"]),
    ] {
        let by = list(&["--sort-by", by]).sort_by.unwrap();
        let mut tasks = all.to_vec();
        tasks.sort_by_cached_key(|task| by.key(task));
        let names: Vec<String> = tasks.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, expected, "{by:?}");
    }
    assert!(Line::try_parse_from(["list", "--sort-by", "name", "-w"]).is_err());
}

#[test]
fn a_field_selector_adds_to_the_others() {
    let both = list(&["--phase", "Failed", "--field-selector", "metadata.name!=a"]);
    assert_eq!(both.fields().unwrap(), "status.phase=Failed,metadata.name!=a");
}
