//! A pool comes to rest, whatever it begins with.

use super::*;
use proptest::prelude::*;

/// Whether it is of the current revision, what it does, whether it is proven hidden, and why it is unwanted.
fn any_indexer() -> impl Strategy<Value = (bool, u8, bool, Option<Unwanted>)> {
    let unwanted = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Unwanted::Old)),
        1 => Just(Some(Unwanted::Cordoned)),
    ];
    (any::<bool>(), 0..6_u8, any::<bool>(), unwanted)
}

proptest! {
    /// Whatever is there: never more pods than the maximum, no idle Indexer is deleted that is needed, none that a task
    /// claims, and repeated passes come to rest.
    #[test]
    fn a_pool_comes_to_rest(
        replicas in 0..6_u32,
        most in 1..6_u32,
        there in proptest::collection::vec(any_indexer(), 0..8),
    ) {
        let spec = json!({"replicas": replicas, "maxIndexers": most});
        let hash = revision(&spec).hash;
        let mut scene = Scene::of(spec, &[]);
        let mut claimed = Vec::new();
        for (n, (current, kind, hidden, unwanted)) in (0..).zip(there) {
            let status = match kind {
                0 => starting(),
                1 | 5 => ended(1, ""),
                _ => ready(),
            };
            let name: &'static str = format!("p{n}").leak();
            if hidden && kind > 1 {
                scene.hidden.push(name);
            }
            let mut new = indexer(name, if current { &hash } else { "old" }, n, status);
            new.unwanted = unwanted;
            if kind > 3 {
                new.duty = Duty::Busy(None);
                claimed.push(new.clone());
            }
            scene.indexers.push(new);
        }
        let busy = claimed.iter().filter(|i| i.evidence.may_live()).count();
        let wanted = as_count(replicas).min(as_count(most).saturating_sub(busy));
        let mut failures = Failures::default();
        for round in 0..60_i64 {
            scene.now = 100 + round * 400;
            failures.observe(&hash, &scene.indexers, at(scene.now));
            let plan = scene.plan_with(&failures);
            let there = scene.indexers.clone();
            let useful = |scene: &Scene| {
                let cordoned = Some(Unwanted::Cordoned);
                let idle = scene.indexers.iter().filter(|i| i.ready && i.duty == Duty::Idle && i.unwanted != cordoned);
                let names = idle.map(Indexer::name);
                names.filter(|name| scene.hidden.contains(name)).count()
            };
            let before = useful(&scene);
            scene.indexers.retain(|i| !plan.delete.iter().any(|d| d.pod == i.name()));
            let after = useful(&scene);
            prop_assert!(after >= before.min(wanted).saturating_sub(1));
            prop_assert!(claimed.iter().all(|claimed| scene.indexers.contains(claimed)));
            if plan.create > 0 {
                let alive = scene.indexers.iter().filter(|i| i.evidence.may_live()).count();
                prop_assert!(alive + plan.create <= as_count(most));
            }
            for _ in 0..plan.create {
                let name: &'static str = format!("n{round}-{}", scene.indexers.len()).leak();
                scene.indexers.push(indexer(name, &hash, 1000 + round, ready()));
                scene.hidden.push(name);
            }
            // What starts is ready, and hidden, in the next round.
            for at in 0..scene.indexers.len() {
                let it = &scene.indexers[at];
                if it.evidence.may_live() && it.duty == Duty::Idle {
                    let name: &'static str = it.name().to_owned().leak();
                    let (revision, unwanted) = (it.revision.clone(), it.unwanted);
                    scene.indexers[at] = Indexer { unwanted, ..indexer(name, &revision, 500, ready()) };
                    scene.hidden.push(name);
                }
            }
            if scene.indexers == there && plan.look_again.is_none() {
                // Every later round would be the same.
                break;
            }
        }
        let last = scene.plan_with(&failures);
        prop_assert_eq!(does(&last), (0, vec![], PoolReadiness::Warm));
        prop_assert_eq!(scene.indexers.len(), wanted + claimed.len());
    }
}
