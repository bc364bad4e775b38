use serde_json::json;

use super::*;
use crate::pool::fixtures::{at, pool};

/// A pool with two heavy slots and one light one for each Indexer, of which all may be used.
fn scaled_pool(min: u32, max: u32) -> IndexerPool {
    let autoscaling = json!({"min": min, "max": max, "targetPercent": 100, "scaleDownAfterSeconds": 100});
    pool(
        json!({"mode": "Shared", "slots": {"heavy": 2, "light": 1}, "autoscaling": autoscaling, "replicas": min}),
    )
}

fn heavy(used: usize, waiting: usize) -> BySlot {
    BySlot {
        heavy: Demand { used, waiting },
        ..BySlot::default()
    }
}

struct Passes {
    pool: IndexerPool,
    memory: Scaling,
}

impl Passes {
    fn over(pool: IndexerPool) -> Self {
        let memory = Scaling::default();
        Self { pool, memory }
    }

    fn pass(&mut self, demand: BySlot, second: i64) -> Scaled {
        scale(&self.pool, &mut self.memory, &demand, true, at(second)).unwrap()
    }

    fn desired(&mut self, demand: BySlot, second: i64) -> u32 {
        self.pass(demand, second).status.desired_replicas
    }
}

#[test]
fn without_autoscaling_replicas_count() {
    let pool = pool(json!({"mode": "Shared", "replicas": 3}));
    let scaled = scale(&pool, &mut Scaling::default(), &heavy(9, 9), true, at(0));
    assert_eq!(scaled, None);
    assert_eq!(applied(&pool.spec, None).replicas, 3);
}

#[test]
fn a_burst_is_answered_at_once_and_no_further_than_the_maximum() {
    let mut passes = Passes::over(scaled_pool(0, 4));
    assert_eq!(passes.desired(heavy(0, 0), 0), 0);
    let scaled = passes.pass(heavy(0, 5), 1);
    assert_eq!(
        (scaled.status.desired_replicas, scaled.change),
        (3, Some(Change::Up))
    );
    assert_eq!(
        scaled.event().unwrap(),
        (
            "ScaledUp",
            "from 0 to 3 Indexers: 0 tasks have slots, and 5 wait for one"
        )
    );
    let scaled = passes.pass(heavy(0, 50), 2);
    assert_eq!(scaled.status.desired_replicas, 4);
    let message = scaled.status.message.unwrap();
    assert!(
        message.ends_with("; 25 would have room for all, and autoscaling.max is 4"),
        "{message}"
    );
}

/// The tasks wait until the Indexers are ready: they are not asked for a second time.
#[test]
fn indexers_that_still_start_are_not_asked_for_again() {
    let mut passes = Passes::over(scaled_pool(0, 10));
    for second in 0..90 {
        let scaled = passes.pass(heavy(0, 4), second);
        assert_eq!(scaled.status.desired_replicas, 2, "{second}");
        assert_eq!(scaled.change, None, "{second}");
    }
    // Some have slots now, and the others wait on.
    assert_eq!(passes.desired(heavy(2, 2), 91), 2);
}

#[test]
fn each_kind_of_slot_counts_by_itself() {
    let mut passes = Passes::over(scaled_pool(1, 10));
    let light = Demand { used: 1, waiting: 3 };
    let demand = BySlot { light, ..heavy(2, 1) };
    assert_eq!(passes.desired(demand, 0), 4);
    let mut none = scaled_pool(1, 10);
    none.spec.slots = Some(crate::api::PoolSlots { heavy: 2, light: 0 });
    assert_eq!(
        Passes::over(none).desired(demand, 0),
        2,
        "no Indexer has a slot for light tasks"
    );
}

#[test]
fn some_slots_are_kept_free() {
    let mut pool = scaled_pool(0, 10);
    pool.spec.autoscaling.as_mut().unwrap().target_percent = 80;
    assert_eq!(Passes::over(pool).desired(heavy(4, 0), 0), 3);
}

#[test]
fn fewer_come_only_after_fewer_sufficed_for_the_whole_time() {
    let mut passes = Passes::over(scaled_pool(0, 10));
    passes.pass(heavy(0, 0), 0);
    assert_eq!(passes.desired(heavy(0, 8), 1), 4);
    assert_eq!(passes.desired(heavy(1, 0), 2), 4);
    let scaled = passes.pass(heavy(3, 0), 50);
    assert_eq!((scaled.status.desired_replicas, scaled.change), (4, None));
    assert_eq!(
        passes.pass(heavy(1, 0), 101).look_again,
        Some(Duration::from_secs(1))
    );
    // Two were needed in between.
    let scaled = passes.pass(heavy(1, 0), 102);
    assert_eq!(
        (scaled.status.desired_replicas, scaled.change),
        (2, Some(Change::Down))
    );
    let message = scaled.status.message.unwrap();
    assert!(message.contains("no more were needed for 100 s"), "{message}");
    assert_eq!(passes.desired(heavy(0, 0), 103), 2);
    assert_eq!(
        passes.desired(heavy(0, 0), 203),
        0,
        "and none if the minimum is 0"
    );
}

#[test]
fn a_demand_that_comes_and_goes_changes_nothing() {
    let mut passes = Passes::over(scaled_pool(0, 10));
    passes.pass(heavy(0, 0), 0);
    assert_eq!(passes.desired(heavy(0, 8), 1), 4);
    for second in (2..1000).step_by(2) {
        let used = if second % 60 == 0 { 8 } else { 0 };
        let scaled = passes.pass(heavy(used, 0), second);
        assert_eq!(
            (scaled.status.desired_replicas, scaled.change),
            (4, None),
            "{second}"
        );
    }
}

#[test]
fn the_minimum_is_kept_and_other_bounds_count_at_once() {
    let mut passes = Passes::over(scaled_pool(2, 10));
    assert_eq!(passes.desired(heavy(0, 0), 0), 2);
    assert_eq!(passes.desired(heavy(0, 0), 500), 2);
    passes.pool = scaled_pool(3, 10);
    assert_eq!(passes.desired(heavy(0, 0), 501), 3);
    assert_eq!(passes.desired(heavy(12, 0), 502), 6);
    passes.pool = scaled_pool(3, 4);
    assert_eq!(passes.desired(heavy(12, 0), 503), 4);
}

/// A new leader reads what was decided, and does not take tasks that it has not seen for none.
#[test]
fn another_process_goes_on_with_what_the_status_says() {
    let mut pool = scaled_pool(0, 10);
    let said = PoolScaling {
        desired_replicas: 5,
        message: Some("why".into()),
    };
    let status = pool.status.get_or_insert_default();
    status.scaling = Some(said.clone());
    let mut memory = Scaling::default();
    for second in [0, 1000] {
        let scaled = scale(&pool, &mut memory, &heavy(0, 0), false, at(second)).unwrap();
        assert_eq!((scaled.status, scaled.change), (said.clone(), None));
    }
    let scaled = scale(&pool, &mut memory, &heavy(0, 0), true, at(1001)).unwrap();
    assert_eq!(scaled.status, said, "the time begins when all tasks are known");
    let scaled = scale(&pool, &mut memory, &heavy(0, 0), true, at(1101)).unwrap();
    assert_eq!(scaled.status.desired_replicas, 0);
}
