//! Planted bugs: each has to break its invariant in some history.

use super::super::planted_tests::is_found;
use super::{HISTORIES, Operator, Planted, REAL, run};
use crate::task::decide::with_worker::planted_tests::{sees_no_strangers, trusts_an_end};

/// The search begins at `first`, a history that is known to break it, and goes on through all others.
fn is_caught(operator: Operator, by: &[&str], first: u64) {
    let seeds = (first..first + HISTORIES).chain(0..first);
    is_found(|seed| run(seed, operator), by, seeds);
}

fn planted(planted: Planted) -> Operator {
    Operator { planted, ..REAL }
}

#[test]
fn a_planted_deletion_of_a_drained_indexer_with_a_claim_is_caught() {
    let by = ["no Indexer is deleted that a task needs"];
    is_caught(planted(Planted::DeletesWhatItDrains), &by, 4);
}

#[test]
fn a_planted_deletion_for_an_unknown_list_is_caught() {
    let by = ["no Indexer is deleted that a task needs"];
    is_caught(planted(Planted::TrustsUnreadLists), &by, 6);
}

#[test]
fn a_planted_line_of_a_neighbour_is_caught() {
    let by = ["a log has the lines of its task and no other's"];
    is_caught(planted(Planted::TakesNeighboursLines), &by, 0);
}

#[test]
fn a_planted_rerun_beside_a_living_jvm_is_caught() {
    let by = ["a new attempt needs a dead JVM", "no task runs twice at a time"];
    let operator = Operator {
        plan: trusts_an_end,
        ..REAL
    };
    is_caught(operator, &by, 495);
}

#[test]
fn a_planted_second_task_in_a_slot_is_caught() {
    let by = ["no Indexer has more tasks than slots"];
    is_caught(planted(Planted::CountsASlotTwice), &by, 17);
}

#[test]
fn a_planted_id_that_comes_back_to_its_indexer_is_caught() {
    let by = ["an id never returns to an Indexer"];
    is_caught(planted(Planted::ForgetsIds), &by, 497);
}

#[test]
fn a_planted_stranger_that_nobody_stops_is_caught() {
    let by = ["no id lives on an Indexer without a claim"];
    let operator = Operator {
        plan: sees_no_strangers,
        ..REAL
    };
    is_caught(operator, &by, 14);
}
