use clap::Parser;

use super::*;
use crate::cli::tasks::tests::at;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    history: History,
}

fn history(args: &[&str]) -> History {
    let line = ["history"].iter().chain(args);
    Line::try_parse_from(line).unwrap().history
}

fn task() -> Value {
    json!({
        "version": 1, "name": "nightly", "uid": "u", "type": "index_parallel", "dataSource": "wiki",
        "phase": "Failed", "reason": "OOMKilled", "attempt": 2, "memory": "3G", "cpu": "1", "exitCode": 137,
        "taskId": "index\u{1b}[2J_x", "startTime": "2026-11-21T08:00:00Z", "completionTime": "2026-11-21T08:01:30Z",
        "log": {"archived": true, "reason": "Archived", "url": "s3://b/p/x/log"}, "ofALaterVersion": true,
    })
}

#[test]
fn a_table_has_verdict_times_and_what_it_took() {
    let table = history(&[]).text(&[task()], at(3600 * 4)).unwrap();
    let line = table.lines().nth(1).unwrap();
    let cells: Vec<&str> = line
        .split("   ")
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect();
    assert_eq!(
        cells,
        [
            "nightly",
            "index_parallel",
            "wiki",
            "Failed",
            "OOMKilled",
            "2",
            "3G",
            "90s",
            "3h58m ago"
        ]
    );
    let wide = history(&["-o", "wide"]).text(&[task()], at(3600 * 4)).unwrap();
    assert!(
        wide.contains("s3://b/p/x/log") && !wide.contains('\u{1b}'),
        "{wide}"
    );
}

#[test]
fn programs_get_what_was_written() {
    let json = history(&["-o", "json"]).text(&[task()], at(0)).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["items"][0], task());
    let name = history(&["-o", "name"]).text(&[task()], at(0)).unwrap();
    assert_eq!(name, "peontask.peon.dev/nightly\n");
    // Something that no version of this program wrote is shown as well as may be.
    let odd = history(&[]).text(&[json!("odd")], at(0)).unwrap();
    assert_eq!(odd.lines().count(), 2);
}

#[test]
fn an_empty_history_is_a_note_and_no_table() {
    let none = history(&["nightly", "--since", "30d"]);
    assert_eq!(none.text(&[], at(0)).unwrap(), "");
    assert_eq!(
        none.nothing("druid"),
        "no task of nightly was finished in the namespace druid within 30d (--since)"
    );
    assert_eq!(history(&[]).since, Duration::from_secs(7 * 86400));
    assert!(Line::try_parse_from(["history", "--limit", "1001"]).is_err());
}
