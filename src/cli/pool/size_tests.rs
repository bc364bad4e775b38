use serde_json::json;

use super::*;

fn pool(memory: &str, sizing: &serde_json::Value) -> IndexerPool {
    serde_json::from_value(json!({
        "apiVersion": "peon.dev/v1alpha1",
        "kind": "IndexerPool",
        "metadata": {"name": "warm"},
        "spec": {
            "middleManagerRef": {"name": "ingestion"},
            "maxIndexers": 2,
            "resources": {"limits": {"memory": memory, "cpu": "1"}},
            "sizing": sizing,
        },
    }))
    .unwrap()
}

#[test]
fn a_limit_is_compared_with_half_and_more() {
    let text = Sizes::of(&pool("1Gi", &json!({})), &[]).unwrap().text();
    let expected = "\
IndexerPool warm

MEMORY        HEAP       DIRECT    EVERYTHING-ELSE   ROWS-OF-A-TASK   HEAP-NEEDED   HEAP-USABLE   RESULT
512Mi         160 MiB    64 MiB    288 MiB           27 MiB           166 MiB       136 MiB       refused
1Gi (given)   531 MiB    128 MiB   365 MiB           89 MiB           289 MiB       452 MiB       ok
2Gi           1222 MiB   256 MiB   570 MiB           204 MiB          520 MiB       1039 MiB      ok
4Gi           2604 MiB   512 MiB   980 MiB           434 MiB          980 MiB       2214 MiB      ok

512Mi would be refused: 85 % of a heap of 160 MiB are 136 MiB, and a task needs 166 MiB: lookups 0 MiB + 48 MiB for Druid + \
2 x taskBytes 27 MiB + 64 MiB for a merge; raise the memory limit, or lower sizing.taskBytes
";
    assert_eq!(text, expected);
}

#[test]
fn other_limits_may_be_named() {
    let sizes = Sizes::of(&pool("1Gi", &json!({})), &["3Gi".to_owned(), "1024Mi".to_owned()]).unwrap();
    let names: Vec<_> = sizes
        .limits
        .iter()
        .map(|row| (row.memory.as_str(), row.given))
        .collect();
    assert_eq!(
        names,
        [("1Gi", true), ("3Gi", false)],
        "the given one stands once"
    );
    let wrong = Sizes::of(&pool("1Gi", &json!({})), &["much".to_owned()]).unwrap_err();
    assert!(wrong.starts_with("--memory much: "), "{wrong}");
    let wrong = Sizes::of(&pool("much", &json!({})), &[]).unwrap_err();
    assert!(
        wrong.starts_with("IndexerPool warm: resources.limits.memory"),
        "{wrong}"
    );
}

#[test]
fn what_is_not_enforced_is_not_refused() {
    let own = |sizing| {
        let sizes = Sizes::of(&pool("512Mi", &sizing), &[]).unwrap();
        sizes.limits.into_iter().find(|row| row.given).unwrap()
    };
    assert!(own(json!({})).refused.is_some());
    assert!(own(json!({"enforce": false})).refused.is_none());
    assert_eq!(own(json!({"heap": "200Mi"})).heap, 200 * MIB);
}
