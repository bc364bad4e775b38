use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::world::{At, Trouble, World, assigned_text, until_killed};
use crate::api::{PeonTask, SubmissionState};
use crate::druid::worker::TaskState;
use crate::middle_manager::model::Fault;
use crate::task::histories::model_api::Kind;

/// A number that follows from the one before.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// What must be so at any time.
fn check(world: &World, seed: u64) {
    let memory = world.overlord.0.lock();
    for (uid, times) in &memory.taken {
        assert!(
            uid.starts_with("nobody") || *times == 1,
            "seed {seed}: {uid} was submitted {times} times"
        );
    }
    drop(memory);
    let tasks: Vec<Value> = world.bench.server.lock().api.all(Kind::Task).cloned().collect();
    for task in tasks {
        let task: PeonTask = serde_json::from_value(task).unwrap();
        let Some(submission) = task.submission() else {
            continue;
        };
        if submission.assigned.is_none() {
            assert!(!task.is_assigned(), "seed {seed}: {task:?}");
            continue;
        }
        let uid = task.metadata.uid.clone().unwrap();
        let memory = world.overlord.0.lock();
        let (_, held) = memory
            .of(&uid)
            .unwrap_or_else(|| panic!("seed {seed}: {uid} has what nobody assigned"));
        let payload = held.payload.clone();
        drop(memory);
        assert_eq!(assigned_text(world, &task), payload, "seed {seed}");
    }
}

/// What must be so when nothing goes wrong any more.
fn check_rest(world: &World, seed: u64, names: &[String]) {
    for name in names {
        let Some(task) = world.task(name) else { continue };
        let uid = task.metadata.uid.clone().unwrap();
        let state = task.submission().map(|s| s.state);
        let memory = world.overlord.0.lock();
        let ours = memory.of(&uid).map(|(_, held)| held.at.clone());
        let is_over = task.spec.cancel || task.is_final();
        let fits = match (state, &ours) {
            (None, None) => is_over,
            (
                Some(SubmissionState::TypeNotListed | SubmissionState::Refused | SubmissionState::IdConflict),
                None,
            ) => true,
            (Some(SubmissionState::ShutDown), None) => is_over,
            (Some(SubmissionState::ShutDown), Some(at)) => is_over && matches!(at, At::Ended(_)),
            (Some(SubmissionState::Submitted), Some(At::Pending)) => !is_over,
            (Some(SubmissionState::RunsElsewhere), Some(At::Elsewhere)) => !is_over,
            // It waits for the announcement, which never comes: assigned at the moment of a death, and not again.
            (Some(SubmissionState::Submitted), Some(At::Here)) => !task.is_assigned(),
            (Some(SubmissionState::Assigned), Some(_)) => task.is_assigned(),
            (Some(SubmissionState::Succeeded), Some(At::Ended(TaskState::Success))) => true,
            (Some(SubmissionState::Failed), Some(At::Ended(TaskState::Failed))) => true,
            _ => false,
        };
        assert!(
            fits,
            "seed {seed}: {name} is {state:?}, the overlord has {ours:?}"
        );
    }
}

async fn history(seed: u64, reached: &mut BTreeMap<String, usize>) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World::new();
    let mut names = Vec::new();
    for _ in 0..40 {
        match dice.below(14) {
            0 | 1 if names.len() < 4 => {
                let kind =
                    ["noop", "noop", "noop", "nonsense", "kill"][usize::try_from(dice.below(5)).unwrap()];
                let id = ["a", "b"][usize::try_from(dice.below(2)).unwrap()];
                names.push(world.create(kind, (dice.below(2) == 0).then_some(id)));
            }
            2 if !names.is_empty() => {
                let name = &names[usize::try_from(dice.below(names.len() as u64)).unwrap()];
                let mut server = world.bench.server.lock();
                match dice.below(3) {
                    0 => server
                        .api
                        .update(Kind::Task, name, |task| task["spec"]["cancel"] = json!(true)),
                    1 => server.api.remove(Kind::Task, name),
                    _ => server.api.update(Kind::Task, name, |task| {
                        task["spec"]["ttlSecondsAfterFinished"] = json!(5)
                    }),
                }
            }
            3 => {
                let trouble = [Trouble::Lost, Trouble::AnswerLost, Trouble::Denied];
                world.overlord.0.lock().next = Some(trouble[usize::try_from(dice.below(3)).unwrap()]);
            }
            4 => {
                let fault = [
                    Fault::Lost,
                    Fault::AnswerLost,
                    Fault::Refused(503),
                    Fault::Refused(409),
                ];
                let fault = fault[usize::try_from(dice.below(4)).unwrap()];
                let at = [
                    ("PATCH", "status"),
                    ("POST", "secrets"),
                    ("GET", "task-1"),
                    ("PATCH", "task-1"),
                ];
                let (method, path) = at[usize::try_from(dice.below(4)).unwrap()];
                let mut server = world.bench.server.lock();
                server.faults.clear();
                server.faults.push_back((method, path, fault));
            }
            // Another user of Druid takes an id.
            5 => {
                let id = ["a", "b"][usize::try_from(dice.below(2)).unwrap()];
                // It may be taken already.
                let _ = world
                    .overlord
                    .0
                    .lock()
                    .put(&json!({"type": "noop", "id": id}).to_string());
            }
            6 | 7 => {
                let waiting: Vec<String> = world
                    .overlord
                    .0
                    .lock()
                    .tasks
                    .iter()
                    .filter(|(_, held)| held.at == At::Pending)
                    .map(|(id, _)| id.clone())
                    .collect();
                if let Some(id) = waiting.first().cloned() {
                    if dice.below(3) == 0 {
                        world.overlord.0.lock().tasks.get_mut(&id).unwrap().at = At::Elsewhere;
                    } else {
                        let steps = dice.below(40);
                        if !until_killed(world.assign(&id), steps).await {
                            world = world.restart();
                        }
                    }
                }
            }
            8 => {
                let ended = [TaskState::Success, TaskState::Failed][usize::try_from(dice.below(2)).unwrap()];
                let mut memory = world.overlord.0.lock();
                if let Some(held) = memory.tasks.values_mut().find(|held| held.at == At::Elsewhere) {
                    held.at = At::Ended(ended);
                }
            }
            9 => {
                let steps = dice.below(30);
                if !until_killed(world.submitter.round(), steps).await {
                    world = world.restart();
                }
            }
            10 => world.submitter.ask().await,
            11 => world.hear(),
            _ => {
                world.hear();
                world.submitter.round().await;
                world.pass_time(2);
            }
        }
        check(&world, seed);
    }
    world.overlord.0.lock().next = None;
    world.bench.server.lock().faults.clear();
    world.settle().await;
    check(&world, seed);
    check_rest(&world, seed, &names);
    for name in &names {
        *reached.entry(format!("{:?}", world.state(name))).or_default() += 1;
    }
}

/// `HISTORY_SEED=<seed>` replays one; a twentieth of `HISTORIES` is tried.
#[tokio::test(start_paused = true)]
async fn whatever_happens_a_task_is_submitted_once_and_nobody_gets_anothers() {
    let mut reached = BTreeMap::new();
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let only = number("HISTORY_SEED");
    let seeds = only.map_or(0..number("HISTORIES").unwrap_or(3000) / 20, |seed| seed..seed + 1);
    for seed in seeds {
        history(seed, &mut reached).await;
    }
    if only.is_none() {
        for state in [
            "Submitted",
            "Assigned",
            "RunsElsewhere",
            "Succeeded",
            "Failed",
            "Refused",
            "IdConflict",
            "ShutDown",
            "TypeNotListed",
        ] {
            assert!(
                reached.contains_key(&format!("Some({state})")),
                "{state} was not reached: {reached:?}"
            );
        }
    }
}
