//! What the documents say of reasons is what the tables here have, and the other way round.

use std::collections::BTreeSet;

use super::*;

const TASKS: &str = include_str!("../../../docs/reasons.md");
const CONFIGURATION: &str = include_str!("../../../docs/configuration.md");
const POOLS: &str = include_str!("../../../docs/indexer-pool.md");
const MANAGERS: &str = include_str!("../../../docs/middle-manager.md");

type Rows = BTreeSet<(String, String)>;

fn row(reason: &str, condition: (&str, Status)) -> (String, String) {
    (
        reason.to_owned(),
        format!("{}={}", condition.0, condition.1.as_str()),
    )
}

/// The cells of a row that begins with a word in backticks.
fn cells(line: &str) -> Option<Vec<&str>> {
    let line = line.strip_prefix("| `")?.strip_suffix('|')?;
    Some(
        line.split(" | ")
            .map(|cell| cell.trim().trim_matches('`'))
            .collect(),
    )
}

/// Each reason of a PeonTask with its condition, as the tables of the document have them.
fn documented_of_tasks() -> Rows {
    let mut found = Rows::new();
    for line in TASKS.lines() {
        let Some(cells) = cells(line) else { continue };
        let row = match cells.as_slice() {
            [reason, condition, _, _] => (*reason, *condition),
            [reason, _, _] => (*reason, "Failed=True"),
            other => panic!("{other:?}"),
        };
        assert!(found.insert((row.0.into(), row.1.into())), "{row:?} stands twice");
    }
    found
}

macro_rules! rows_of {
    ($($table:ident),+) => {{
        let mut rows = Rows::new();
        $(rows.extend($table::ALL.iter().map(|r| row(r.as_str(), r.condition())));)+
        rows
    }};
}

#[test]
fn every_reason_of_a_task_is_documented_under_its_condition_and_no_other() {
    let mut expected = rows_of!(
        Waiting,
        RunStart,
        Readiness,
        Suspension,
        Completion,
        LogsArchived,
        Recording
    );
    for reason in Acceptance::ALL {
        // A final one ends the task at once: it is documented as its failure.
        if !reason.is_final() {
            expected.insert(row(reason.as_str(), reason.condition()));
        }
        if reason.is_final() || reason.follows() == Follows::ChangeOrEnd {
            expected.insert((reason.to_string(), "Failed=True".into()));
        }
    }
    let of_tasks = Cause::ALL
        .iter()
        .filter(|cause| cause.follows() != Follows::Resume);
    expected.extend(of_tasks.map(|cause| row(cause.as_str(), cause.condition())));
    assert_eq!(documented_of_tasks(), expected);
    assert!(TASKS.contains(&format!("`{DELETED}`")));
}

/// The table under the heading of the status.
#[test]
fn every_reason_of_a_template_is_documented_and_no_other() {
    let (_, section) = CONFIGURATION
        .split_once("\n## The status of a PeonTemplate\n")
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(cells);
    let documented: Rows = rows.map(|cells| (cells[0].into(), cells[1].into())).collect();
    assert_eq!(documented, rows_of!(TemplateReadiness));
}

#[test]
fn every_reason_of_an_indexer_pool_is_documented_and_no_other() {
    let (_, section) = POOLS.split_once("\n## The status of an IndexerPool\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(cells);
    let documented: Rows = rows.map(|cells| (cells[0].into(), cells[1].into())).collect();
    let mut known: Rows = rows_of!(PoolReadiness);
    known.extend(rows_of!(QueriesServed));
    assert_eq!(documented, known);
}

#[test]
fn every_reason_of_a_virtual_middle_manager_is_documented() {
    let mut documented = Rows::new();
    let mut condition = String::new();
    for line in MANAGERS.lines() {
        if let Some(header) = line.strip_prefix("| `") {
            if let Some((type_, _)) = header.split_once("` is `False` with") {
                condition = format!("{type_}=False");
            } else if !condition.is_empty()
                && let Some(cells) = cells(line)
            {
                documented.insert((cells[0].into(), condition.clone()));
            }
        } else if !line.starts_with('|') {
            condition.clear();
        }
    }
    let expected: Rows = rows_of!(ManagerReady, Announcement, OverlordAnswers)
        .into_iter()
        // `Ready` repeats those of `Announced`.
        .map(|(reason, condition)| (reason, condition.replace("Announced=", "Ready=")))
        .filter(|(_, condition)| condition.ends_with("=False"))
        .collect();
    assert_eq!(documented, expected);
    for reason in Authentication::ALL {
        assert!(MANAGERS.contains(&format!("`{reason}`")), "{reason}");
    }
}

macro_rules! check_names {
    ($($table:ident),+) => {$(
        for reason in $table::ALL {
            assert_eq!($table::parse(reason.as_str()), Some(*reason));
            assert_eq!(serde_json::json!(reason), reason.as_str());
            assert!(reason.meaning().ends_with('.'), "{reason}");
        }
        assert_eq!($table::parse("OfANewerVersion"), None);
    )+};
}

#[test]
fn names_are_read_as_they_are_written() {
    check_names!(
        Acceptance,
        Waiting,
        RunStart,
        Readiness,
        Suspension,
        Completion,
        Cause,
        LogsArchived,
        Recording,
        TemplateReadiness,
        ManagerReady,
        Authentication,
        Announcement,
        OverlordAnswers
    );
}
