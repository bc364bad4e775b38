//! The worker configurations that the documentation has an overlord take.

use serde_json::Value;

use crate::pages::root;

fn categories(file: &str) -> serde_json::Map<String, Value> {
    let text = std::fs::read_to_string(root().join("config/routing").join(file)).unwrap();
    let whole: Value = serde_json::from_str(&text).unwrap();
    let strategy = &whole["selectStrategy"];
    assert_eq!(strategy["type"], "equalDistributionWithCategorySpec");
    strategy["workerCategorySpec"]["categoryMap"]
        .as_object()
        .unwrap()
        .clone()
}

#[test]
fn nothing_goes_to_the_new_workers_but_what_has_an_affinity() {
    let (before, after) = (categories("worker.json"), categories("worker-wikipedia.json"));
    assert!(before.keys().eq(after.keys()));
    for (kind, of) in before.iter().chain(&after) {
        assert_eq!(of["defaultCategory"], "_default_worker_category", "{kind}");
    }
    assert!(before.values().all(|of| of.get("categoryAffinity").is_none()));
    // All phases of a parallel task run on one kind of worker.
    let of_phases = after
        .iter()
        .filter(|(kind, _)| kind.starts_with("partial_") || kind.ends_with("sub_task"));
    assert_eq!(of_phases.clone().count(), 6);
    for (kind, of) in of_phases {
        assert_eq!(
            of["categoryAffinity"], after["index_parallel"]["categoryAffinity"],
            "{kind}"
        );
    }
}
