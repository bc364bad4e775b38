//! Indexers that do not answer, or that nobody finds.

use super::*;

#[test]
fn one_that_is_silent_for_five_minutes_though_its_node_is_there_is_deleted() {
    let mut hung = starting();
    hung["conditions"][0]["reason"] = json!("ContainersNotReady");
    for (since, status, deleted, again) in [
        (None, ready(), vec![], None),
        (Some(at(701)), ready(), vec![], Some(1)),
        (Some(at(900)), ready(), vec![], Some(200)),
        (Some(at(700)), ready(), vec!["a"], None),
        (Some(at(1)), ready(), vec!["a"], None),
        // The kubelet says that it does not answer.
        (Some(at(700)), hung.clone(), vec!["a"], None),
        (Some(at(900)), hung, vec![], Some(200)),
        // The node is lost.
        (Some(at(1)), starting(), vec![], None),
        (Some(at(900)), starting(), vec![], None),
    ] {
        let mut scene = with_duties(
            json!({"replicas": 1}),
            &[("a", Duty::Busy(since), status), ("b", Duty::Idle, ready())],
        );
        scene.now = 1000;
        let plan = scene.plan();
        assert_eq!(does(&plan), (0, deleted, PoolReadiness::Warm), "{since:?}");
        assert_eq!(plan.look_again, again.map(Duration::from_secs));
        assert!(plan.delete.iter().all(|delete| delete.with == WithTasks::Any));
    }
}

#[test]
fn one_that_is_ready_and_not_announced_is_replaced() {
    let mut scene = Scene::of(json!({"replicas": 1}), &[("a", true, ready())]);
    scene.hidden = vec![];
    scene.unannounced = vec!["a"];
    assert_eq!(does(&scene.plan()), (1, vec!["a"], PoolReadiness::Starting));
    let mut shared = Scene::of(json!({"replicas": 1}), &[("a", true, ready())]);
    (shared.hidden, shared.unannounced) = (vec![], vec!["a"]);
    shared.indexers[0].load.tasks = 1;
    assert_eq!(does(&shared.plan()).1, Vec::<&str>::new(), "it has a task");
}
