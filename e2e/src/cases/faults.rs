//! The operator dies, or loses its lease, at the worst moments.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{Case, Turn, case};
use crate::testbed::{
    audit,
    druid::samples,
    fixture::{Fixture, LIMIT},
    gate::Kill,
    outside::Grounds,
    wait::wait_until,
};

pub(super) const CASES: [Case; 4] = [
    case(
        "faults::killed_between_any_two_actions_it_starts_one_pod_and_finds_the_verdict",
        killed_anywhere,
    )
    .turn(Turn::Outside)
    .own(),
    case("faults::a_standby_takes_over", standby)
        .turn(Turn::Outside)
        .own(),
    case(
        "faults::a_leader_that_slept_through_a_whole_task_does_nothing_to_it",
        slept,
    )
    .turn(Turn::Outside)
    .own(),
    case("faults::a_leader_that_loses_its_lease_stops", lost_lease)
        .turn(Turn::Outside)
        .own(),
];

/// Kill points that run beside each other.
const LANES: usize = 3;

/// The writes about a task, in order, as the audit log has them.
fn writes(fixture: &Fixture, namespace: &str, task: &str) -> Result<Vec<(String, u64)>> {
    let own = fixture.target.own().context("no cluster of our own")?;
    let names = [task.to_owned(), format!("{task}-1")];
    let requests = audit::of_operator(own)?;
    let ours = requests.iter().filter(|r| {
        r.namespace == namespace && names.contains(&r.name) && r.is_write() && r.resource != "leases"
    });
    Ok(ours
        .map(|r| (format!("{} {}", r.verb, r.resource), r.code))
        .collect())
}

fn killed_anywhere(fixture: &Fixture) -> Result<()> {
    let first = Grounds::prepare(fixture, "killed-0")?;
    let actions = clean_run(fixture, &first)?;
    println!("actions of a clean run: {}", actions.join(", "));
    ensure!(actions.len() >= 5, "too few actions: {actions:?}");
    let mut points: Vec<Kill> = (1..=actions.len()).map(Kill::After).collect();
    points.extend((2..=actions.len()).map(Kill::Before));
    let mut lanes: Vec<Vec<Kill>> = vec![Vec::new(); LANES];
    for (at, point) in points.iter().enumerate() {
        lanes[at % LANES].push(*point);
    }
    let mut grounds = vec![first];
    for lane in 1..LANES {
        grounds.push(Grounds::prepare(fixture, &format!("killed-{lane}"))?);
    }
    thread::scope(|scope| {
        let lanes: Vec<_> = lanes
            .iter()
            .zip(&grounds)
            .map(|(lane, grounds)| {
                scope.spawn(move || {
                    lane.iter()
                        .try_for_each(|point| killed_once(fixture, grounds, *point))
                })
            })
            .collect();
        lanes
            .into_iter()
            .try_for_each(|lane| lane.join().unwrap_or_else(|_| bail!("a lane panicked")))
    })?;
    println!("killed at {} points: {points:?}", points.len());
    Ok(())
}

fn clean_run(fixture: &Fixture, grounds: &Grounds) -> Result<Vec<String>> {
    let operator = grounds.start()?;
    grounds.gate.guard(operator.id(), None);
    fixture.apply(&grounds.namespace, &samples::noop("clean")?)?;
    fixture
        .until_reason(&grounds.namespace, "clean", "Succeeded")
        .with_context(|| operator.tail())?;
    let writes = wait_until(LIMIT, "the audit log", || {
        let writes = writes(fixture, &grounds.namespace, "clean")?;
        let ended = writes
            .iter()
            .filter(|(action, _)| action == "patch peontasks/status")
            .count()
            >= 3;
        Ok(ended.then_some(writes))
    })?;
    ensure!(
        writes.iter().all(|(_, code)| *code < 300),
        "{writes:?}: {}",
        operator.tail()
    );
    Ok(writes.into_iter().map(|(action, _)| action).collect())
}

fn killed_once(fixture: &Fixture, grounds: &Grounds, point: Kill) -> Result<()> {
    let name = format!("{point:?}")
        .to_lowercase()
        .replace(['(', ')'], "-")
        .trim_end_matches('-')
        .to_owned();
    let namespace = &grounds.namespace;
    let mut victim = grounds.start()?;
    grounds.gate.guard(victim.id(), Some(point));
    fixture.apply(namespace, &samples::noop(&name)?)?;
    let code = victim
        .wait(LIMIT)
        .with_context(|| format!("{point:?} was not reached"))?;
    ensure!(
        code.is_none() && !grounds.gate.is_armed(),
        "{point:?} was not hit: {}",
        victim.tail()
    );

    let successor = grounds.start()?;
    grounds.gate.guard(successor.id(), None);
    let ended = fixture.until_reason(namespace, &name, "Succeeded");
    ended.with_context(|| format!("after {point:?}: {}", successor.tail()))?;
    let writes = writes(fixture, namespace, &name)?;
    let pods = writes
        .iter()
        .filter(|(action, code)| action == "create pods" && *code == 201)
        .count();
    ensure!(pods == 1, "{pods} pods after {point:?}: {writes:?}");
    Ok(())
}

fn standby(fixture: &Fixture) -> Result<()> {
    let grounds = Grounds::prepare(fixture, "standby")?;
    let namespace = &grounds.namespace;
    let leader = grounds.start()?;
    leader.until_log("leading", LIMIT)?;
    let mut second = grounds.start()?;
    second.until_log("standing by", LIMIT)?;
    let mut task = samples::noop("survives")?;
    task["spec"]["task"]["runTime"] = json!(15_000);
    fixture.apply(namespace, &task)?;
    fixture
        .until_running(namespace, "survives")
        .with_context(|| leader.tail())?;
    leader.signal(Signal::SIGKILL)?;
    fixture
        .until_reason(namespace, "survives", "Succeeded")
        .with_context(|| second.tail())?;
    second.until_log("leading", LIMIT)?;

    // One that is asked to stop releases the lease: the next leads without waiting for it to expire.
    let third = grounds.start()?;
    third.until_log("standing by", LIMIT)?;
    second.signal(Signal::SIGTERM)?;
    ensure!(second.wait(LIMIT)? == Some(0), "{}", second.tail());
    third.until_log("leading", LIMIT)?;
    fixture.apply(namespace, &samples::noop("after")?)?;
    fixture
        .until_reason(namespace, "after", "Succeeded")
        .map(drop)
        .with_context(|| third.tail())
}

/// Stopped between the claim of the attempt and the creation of its pod, with the answer to the claim in its socket.
fn slept(fixture: &Fixture) -> Result<()> {
    let grounds = Grounds::prepare(fixture, "slept")?;
    let namespace = &grounds.namespace;
    let name = "slept-through";
    let mut sleeper = grounds.start()?;
    sleeper.until_log("leading", LIMIT)?;
    let second = grounds.start()?;
    second.until_log("standing by", LIMIT)?;
    grounds.gate.guard(sleeper.id(), Some(Kill::StopAfter(1)));
    fixture.apply(namespace, &samples::noop(name)?)?;
    wait_until(LIMIT, "the leader to be stopped", || {
        Ok((!grounds.gate.is_armed()).then_some(()))
    })?;
    let ended = fixture
        .until_reason(namespace, name, "Succeeded")
        .with_context(|| second.tail())?;
    sleeper.signal(Signal::SIGCONT)?;
    let code = sleeper.wait(LIMIT)?;
    ensure!(code == Some(1), "exit code {code:?}: {}", sleeper.tail());
    // Had it created anything, this would come after it.
    fixture.apply(namespace, &samples::noop("after")?)?;
    fixture
        .until_reason(namespace, "after", "Succeeded")
        .with_context(|| second.tail())?;
    let after = fixture.get(namespace, name)?;
    ensure!(
        after["status"] == ended["status"],
        "the verdict changed from {} to {}",
        ended["status"],
        after["status"]
    );
    let writes = writes(fixture, namespace, name)?;
    let creations: Vec<_> = writes
        .iter()
        .filter(|(action, _)| action.starts_with("create "))
        .map(|(action, code)| (action.as_str(), *code))
        .collect();
    // The sleeper claimed the attempt, its successor found the claim and made the only pod.
    let expected = [
        ("create configmaps", 201),
        ("create configmaps", 409),
        ("create pods", 201),
    ];
    ensure!(creations == expected, "{writes:?}");
    Ok(())
}

fn lost_lease(fixture: &Fixture) -> Result<()> {
    let grounds = Grounds::prepare(fixture, "lost-lease")?;
    let mut operator = grounds.start()?;
    operator.until_log("leading", LIMIT)?;
    let patch = json!({"spec": {"holderIdentity": "usurper", "leaseDurationSeconds": 3600}}).to_string();
    let args = [
        "patch",
        "lease",
        "operator",
        "--type=merge",
        "--patch",
        &patch,
        "--namespace",
        &grounds.namespace,
    ];
    // The operator may write in the same moment, by the version that it read before.
    wait_until(LIMIT, "the lease to be taken", || {
        Ok(fixture.kubectl.run(&args).ok())
    })?;
    let code = operator.wait(Duration::from_secs(60))?;
    ensure!(code == Some(1), "exit code {code:?}: {}", operator.tail());
    operator.until_log("another process took the lease", LIMIT)
}
