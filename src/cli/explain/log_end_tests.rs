use serde_json::json;

use super::*;
use crate::cli::tasks::tests::at;

/// Lines that were written one second after the other.
fn read(lines: &[&str]) -> Option<LogEnd> {
    let lines = lines.iter().zip(10..);
    let log = lines.map(|(line, second)| format!("2026-11-21T08:00:{second}.123456789Z {line}\n"));
    LogEnd::read(log.collect::<String>().as_bytes())
}

#[test]
fn the_last_warnings_are_counted_with_their_causes() {
    let end = read(&[
        "2026-11-21T08:00:10,000 INFO [main] org.apache.druid.A - Loading",
        "2026-11-21T08:00:11,000 WARN [main] org.apache.druid.B - Attempt 1 failed",
        "org.apache.druid.java.util.common.IOE: a",
        "java.lang.RuntimeException: cannot connect",
        "\tat a.b.C(D.java:1)",
        "Caused by: java.net.UnknownHostException: zookeeper: Name or service not known",
        "\t... 3 more",
        "2026-11-21T08:00:12,000 WARN [main] org.apache.druid.B - Attempt 22 failed",
        "Caused by: java.net.UnknownHostException: zookeeper: Name or service not known",
        "2026-11-21T08:00:13,000 INFO [main] org.apache.druid.A - WARN is no level here",
    ])
    .unwrap();
    assert_eq!(
        end.text(at(60)),
        "the last line is 40s old: 2026-11-21T08:00:13,000 INFO [main] org.apache.druid.A - WARN is no level here\n\
         the last warnings and errors among 500 lines:\n  42s ago, 2 times: WARN [main] org.apache.druid.B - Attempt 22 \
         failed … java.net.UnknownHostException: zookeeper: Name or service not known"
    );
    assert_eq!(
        json!(end)["warnings"][0],
        json!({
            "time": "2026-11-21T08:00:17Z", "times": 2,
            "text": "WARN [main] org.apache.druid.B - Attempt 22 failed … java.net.UnknownHostException: zookeeper: Name \
                or service not known",
        })
    );
}

#[test]
fn a_stack_trace_is_of_the_line_before() {
    let end = read(&["INFO a", "WARN b", "java.lang.Exception: c", "\tat d"]).unwrap();
    assert!(
        end.text(at(60)).starts_with("the last line is 46s old: WARN b\n"),
        "{}",
        end.text(at(60))
    );
}

#[test]
fn every_layout_has_its_level() {
    for (line, shown) in [
        (
            "2026-11-21T08:00:10,000 ERROR [main] a.B - no",
            Some("ERROR [main] a.B - no"),
        ),
        (
            "2026-11-21 08:00:10,000 [main] WARN a.B - no",
            Some("WARN a.B - no"),
        ),
        ("[WARN ] a.B: no", Some("[WARN ] a.B: no")),
        ("[WARN] a.B: no", Some("[WARN] a.B: no")),
        (
            r#"{"level":"WARN","message":"no"}"#,
            Some(r#"{"level":"WARN","message":"no"}"#),
        ),
        (r#"{"level":"INFO","message":"WARN"}"#, None),
        (
            "Exception in thread \"main\" java.lang.NoClassDefFoundError: x",
            Some("Exception in thread \"main\" java.lang.NoClassDefFoundError: x"),
        ),
        ("some text with an Error: in it", None),
        (
            "Unrecognized VM option 'UseFoo'",
            Some("Unrecognized VM option 'UseFoo'"),
        ),
        ("Error: Could not create it.", Some("Error: Could not create it.")),
        (
            "peon properties: the operator sets druid.host",
            Some("peon properties: the operator sets druid.host"),
        ),
    ] {
        let end = read(&[line]).unwrap();
        let found = end.warnings.first().map(|w| w.line.text.as_str());
        assert_eq!(found, shown, "{line}");
    }
}

#[test]
fn only_the_newest_are_shown_and_long_ones_are_cut() {
    let long = format!("2026-11-21T08:00:10,000 WARN [main] {}", "ä".repeat(400));
    let lines = ["WARN a", "WARN b", "WARN c", "WARN a", "WARN d"];
    let end = read(&lines).unwrap();
    let shown: Vec<_> = end
        .warnings
        .iter()
        .map(|w| (w.line.text.as_str(), w.times))
        .collect();
    assert_eq!(shown, [("WARN c", 1), ("WARN a", 2), ("WARN d", 1)]);
    let end = read(&[&long]).unwrap();
    assert_eq!(end.warnings[0].line.text.chars().count(), LONGEST + 1);
    assert_eq!(end.last.text.chars().count(), LONGEST + 1);
}

#[test]
fn a_log_of_nothing_says_nothing_and_memory_is_bounded() {
    assert_eq!(read(&[]), None);
    assert_eq!(LogEnd::read(b"no time\n\xff\n2026-11-21T08:00:10Z  \n"), None);
    let mut kept = Kept::default();
    for _ in 0..100 {
        kept.push(&vec![b'x'; 64 << 10]);
        assert!(kept.0.len() <= MOST_BYTES);
    }
    kept.push(b"\n2026-11-21T08:00:10Z INFO a\n");
    let end = kept.end().unwrap();
    assert_eq!(end.last.text, "INFO a");
    assert!(
        end.text(at(60))
            .ends_with("none of the last 500 lines is a warning or an error")
    );
}
