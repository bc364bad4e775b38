use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::world::{At, Trouble, World, assigned_text, until_killed};
use crate::api::{PeonTask, SubmissionState as S};
use crate::druid::worker::TaskState;
use crate::middle_manager::model_api::Fault;
use crate::simulation::model_api::Kind;

/// A number that follows from the one before.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = self.below(of.len() as u64);
        &of[usize::try_from(at).unwrap()]
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
        let has_ended = |state| ours == Some(At::Ended(state));
        let fits = match state {
            None => ours.is_none() && is_over,
            Some(S::TypeNotListed | S::Refused | S::IdConflict) => ours.is_none(),
            Some(S::ShutDown) => is_over && matches!(ours, None | Some(At::Ended(_))),
            // Assigned at the moment of a death, and not again: the overlord waits for the announcement, and gives up.
            Some(S::Submitted) => {
                ours == Some(At::Pending) && !is_over || ours == Some(At::Here) && !task.is_assigned()
            }
            Some(S::RunsElsewhere) => ours == Some(At::Elsewhere) && !is_over,
            Some(S::Assigned) => ours.is_some() && task.is_assigned(),
            Some(S::Succeeded) => has_ended(TaskState::Success),
            Some(S::Failed) => has_ended(TaskState::Failed),
            Some(S::Disabled | S::Submitting | S::NotAuthorized | S::Unreachable) => false,
        };
        assert!(
            fits,
            "seed {seed}: {name} is {state:?}, the overlord has {ours:?}"
        );
    }
}

/// Users create PeonTasks, cancel, delete and change them.
fn users(world: &mut World, dice: &mut Dice, names: &mut Vec<String>) {
    if names.is_empty() || names.len() < 4 && dice.below(2) == 0 {
        let kind = *dice.pick(&["noop", "noop", "noop", "nonsense", "kill"]);
        let id = *dice.pick(&["a", "b"]);
        names.push(world.create(kind, (dice.below(2) == 0).then_some(id)));
        return;
    }
    let name = dice.pick(names).clone();
    let mut server = world.bench.server.lock();
    match dice.below(4) {
        0 => server
            .api
            .update(Kind::Task, &name, |task| task["spec"]["cancel"] = json!(true)),
        1 => server.api.remove(Kind::Task, &name),
        _ => server.api.update(Kind::Task, &name, |task| {
            task["spec"]["ttlSecondsAfterFinished"] = json!(5);
        }),
    }
}

/// Requests are lost or refused.
fn faults(world: &World, dice: &mut Dice) {
    if dice.below(2) == 0 {
        let trouble = *dice.pick(&[Trouble::Lost, Trouble::AnswerLost, Trouble::Denied]);
        world.overlord.0.lock().next = Some(trouble);
        return;
    }
    let fault = *dice.pick(&[
        Fault::Lost,
        Fault::AnswerLost,
        Fault::Refused(503),
        Fault::Refused(409),
    ]);
    let (method, path) = *dice.pick(&[
        ("PATCH", "status"),
        ("POST", "secrets"),
        ("GET", "task-1"),
        ("PATCH", "task-1"),
    ]);
    let mut server = world.bench.server.lock();
    server.faults.clear();
    server.faults.push_back((method, path, fault));
}

/// The overlord assigns a task that waits, here or elsewhere. Returns the world after it, with another process where that
/// was killed.
async fn assignment(mut world: World, dice: &mut Dice) -> World {
    let pending = |world: &World| {
        let memory = world.overlord.0.lock();
        let mut waiting = memory.tasks.iter().filter(|(_, held)| held.at == At::Pending);
        waiting.next().map(|(id, _)| id.clone())
    };
    let Some(id) = pending(&world) else { return world };
    if dice.below(3) == 0 {
        world.overlord.0.lock().tasks.get_mut(&id).unwrap().at = At::Elsewhere;
        return world;
    }
    let steps = dice.below(40);
    if until_killed(Box::pin(world.assign(&id)), steps).await {
        world
    } else {
        world.restart()
    }
}

/// Others submit tasks, and tasks that run elsewhere end.
fn elsewhere(world: &World, dice: &mut Dice) {
    let mut memory = world.overlord.0.lock();
    if dice.below(2) == 0 {
        let task = json!({"type": "noop", "id": dice.pick(&["a", "b"])});
        // The id may be taken already.
        let _ = memory.put(&task.to_string());
    } else if let Some(held) = memory.tasks.values_mut().find(|held| held.at == At::Elsewhere) {
        held.at = At::Ended(*dice.pick(&[TaskState::Success, TaskState::Failed]));
    }
}

async fn history(seed: u64, reached: &mut BTreeMap<String, usize>) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World::new();
    let mut names = Vec::new();
    for _ in 0..40 {
        match dice.below(14) {
            0..=2 => users(&mut world, &mut dice, &mut names),
            3 | 4 => faults(&world, &mut dice),
            5 | 8 => elsewhere(&world, &mut dice),
            6 | 7 => world = assignment(world, &mut dice).await,
            9 => {
                let steps = dice.below(30);
                if !until_killed(Box::pin(world.submitter.round()), steps).await {
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

/// Unless `HISTORIES` says something else; fewer need not reach every state.
const MANY: u64 = 3000;

/// `HISTORY_SEED=<seed>` replays one; a twentieth of `HISTORIES` is tried.
#[tokio::test(start_paused = true)]
async fn whatever_happens_a_task_is_submitted_once_and_nobody_gets_anothers() {
    let mut reached = BTreeMap::new();
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let only = number("HISTORY_SEED");
    let many = number("HISTORIES").unwrap_or(MANY) / 20;
    let seeds = only.map_or(0..many, |seed| seed..seed + 1);
    for seed in seeds {
        Box::pin(history(seed, &mut reached)).await;
    }
    if only.is_none() && many >= MANY / 20 {
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
