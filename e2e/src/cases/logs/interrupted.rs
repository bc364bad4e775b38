//! Whoever reads the log, or stands between, is gone for a while.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::chatter::Chatter;
use super::exits::Scene;
use super::written::{DECLARED, Written, differs_by_what_is_declared, is_same, without_report};
use crate::{
    cases::{Case, Turn, case, full},
    testbed::{
        api_server::Away,
        cache::Cache,
        fixture::{Fixture, LIMIT, NAMESPACE},
        object_stores::{self, Directory, Running},
        outside::{Grounds, Outside},
        progress::Progress,
        wait::wait_until,
    },
};

pub(super) const CASES: [Case; 6] = [
    case("logs::of_sixty_megabytes_are_archived_across_rotations", large)
        .turn(Turn::Waiting)
        .own(),
    case("logs::survive_deaths_of_the_operator", |fixture| {
        killed(fixture, false)
    })
    .long()
    .turn(Turn::Outside)
    .own(),
    case(
        "logs::survive_a_restart_of_the_api_server_and_deaths",
        |fixture| killed(fixture, true),
    )
    .turn(Turn::Alone)
    .own()
    .full(),
    case("logs::say_what_was_rotated_away_while_nobody_read", rotated_away)
        .long()
        .turn(Turn::Outside)
        .own(),
    case(
        "logs::say_that_their_beginning_was_rotated_away",
        beginning_rotated_away,
    )
    .turn(Turn::Outside)
    .own()
    .full(),
    case("logs::of_a_lost_node_are_archived_in_every_store", lost_node)
        .long()
        .turn(Turn::Outside)
        .own(),
];

/// Sixty megabytes in about a minute, or longer on a busy machine: a kubelet rotates that several times.
const ROTATED: Chatter = Chatter {
    blocks: 60,
    lines: 10_000,
    pause: 0.7,
};

fn scene<'a>(fixture: &'a Fixture, namespace: &'a str, name: &'a str) -> Scene<'a> {
    Scene {
        fixture,
        namespace,
        name,
        sidecar: false,
    }
}

fn chatty(scene: &Scene<'_>, chatter: Chatter, seconds: u32) -> Result<Written> {
    scene.template(|spec| chatter.add_to(scene.fixture, spec))?;
    scene.noop(seconds)
}

fn large(fixture: &Fixture) -> Result<()> {
    let scene = scene(fixture, NAMESPACE, "log-of-sixty-megabytes");
    // Until all is written, however long that takes: a peon that ends by itself may end first on a busy machine.
    let written = chatty(&scene, ROTATED, 900)?;
    Chatter::until_quiet(fixture, scene.namespace, &scene.pod())?;
    fixture.change(scene.namespace, scene.name, &json!({"cancel": true}))?;
    scene.until_reason("Cancelled")?;
    let reason = scene.until_archived()?;
    let (log, all) = (scene.log()?, written.bytes()?);
    let all = without_report(&all);
    let (gaps, kept) = differs_by_what_is_declared(&log, all)?;
    let files = written.files()?;
    println!(
        "{kept} of {} bytes in {files} files were kept, with {gaps} gaps",
        all.len()
    );
    ensure!(
        all.len() > 50 << 20 && files > 2,
        "{} bytes in {files} files",
        all.len()
    );
    ensure!((gaps == 0) == (reason == "Archived"), "{reason} with {gaps} gaps");
    Ok(())
}

/// Two deaths, or ten where everything is asked for; at one of them the API server may restart, too.
fn killed(fixture: &Fixture, with_api_server: bool) -> Result<()> {
    let deaths = if full() { 10 } else { 2 };
    let grounds = Grounds::prepare(fixture, "killed-readers")?;
    let scene = scene(fixture, &grounds.namespace, "outlives-its-readers");
    let directory = Directory::new()?;
    let store = directory.running();
    let mut operator = grounds.start_archiving(&store.properties)?;
    // As long as it takes, and so little that no log is rotated.
    let chatter = Chatter {
        blocks: 1000,
        lines: 100,
        pause: 2.0,
    };
    let written = chatty(&scene, chatter, 1000).with_context(|| operator.tail())?;
    for death in 1..=deaths {
        let parts = store.parts()?;
        wait_until(LIMIT, "another part of the log", || {
            // One that lost its lease with the API server ends by itself.
            if operator.has_ended()? {
                operator = grounds.start_archiving(&store.properties)?;
            }
            Ok((store.parts()? > parts).then_some(()))
        })
        .with_context(|| operator.tail())?;
        if with_api_server && death == deaths / 2 + 1 {
            drop(Away::begin(fixture)?);
        }
        operator.kill()?;
        operator = grounds.start_archiving(&store.properties)?;
    }
    Chatter::stop(fixture, scene.namespace, &scene.pod())?;
    fixture.change(scene.namespace, scene.name, &json!({"cancel": true}))?;
    scene.until_reason("Cancelled").with_context(|| operator.tail())?;
    let reason = scene.until_archived().with_context(|| operator.tail())?;
    let log = store.log(scene.name)?.context("no log")?;
    ensure!(reason == "Archived", "{reason}: {}", operator.tail());
    is_same(&log, without_report(&written.bytes()?))
}

fn rotated_away(fixture: &Fixture) -> Result<()> {
    let log = while_nobody_reads(fixture, "rotated", |written, store, operator| {
        wait_until(LIMIT, "the first part of the log", || {
            Ok((store.parts()? > 0).then_some(()))
        })
        .with_context(|| operator.tail())?;
        let files = written.files()?;
        operator.kill()?;
        // What was being written when the operator died is in the first of two files then that are not current any more.
        until_files(written, files + 2)
    })?;
    ensure!(!log.starts_with(DECLARED), "its first part is missing");
    Ok(())
}

/// The operator is gone before it has archived anything, and back when the current file was begun long after the container.
fn beginning_rotated_away(fixture: &Fixture) -> Result<()> {
    let log = while_nobody_reads(fixture, "rotated-first", |written, store, operator| {
        operator.kill()?;
        let parts = store.parts()?;
        ensure!(parts == 0, "{parts} parts before the operator's death");
        // The kubelet rotates every ten seconds at most.
        until_files(written, written.files()? + 4)
    })?;
    ensure!(log.starts_with(DECLARED), "it begins as if nothing were missing");
    Ok(())
}

fn until_files(written: &Written, files: usize) -> Result<()> {
    wait_until(LIMIT, "rotations", || {
        Ok((written.files()? >= files).then_some(()))
    })
}

/// The log of a task that writes much, whose operator was killed and not replaced until `meanwhile` ends.
fn while_nobody_reads(
    fixture: &Fixture,
    name: &str,
    meanwhile: impl FnOnce(&Written, &Running<'_>, &mut Outside) -> Result<()>,
) -> Result<Vec<u8>> {
    let grounds = Grounds::prepare(fixture, name)?;
    let scene = scene(fixture, &grounds.namespace, "rotated-away");
    let directory = Directory::new()?;
    let store = directory.running();
    let mut operator = grounds.start_archiving(&store.properties)?;
    let written = chatty(&scene, ROTATED, 80).with_context(|| operator.tail())?;
    meanwhile(&written, &store, &mut operator)?;
    let operator = grounds.start_archiving(&store.properties)?;
    scene.until_reason("Succeeded").with_context(|| operator.tail())?;
    let reason = scene.until_archived().with_context(|| operator.tail())?;
    let (log, all) = (store.log(scene.name)?.context("no log")?, written.bytes()?);
    let (gaps, kept) = differs_by_what_is_declared(&log, without_report(&all))?;
    println!("{kept} of {} bytes were kept, with {gaps} gaps", all.len());
    ensure!(reason == "Gap" && gaps > 0, "{reason} and {gaps} gaps");
    Ok(log)
}

/// The node goes with what its kubelet would have had to say: what was archived by then stays, and the log says that its
/// end may be missing.
fn lost_node(fixture: &Fixture) -> Result<()> {
    let node = fixture.second_node()?;
    let place = |scene: &Scene<'_>| -> Result<Written> {
        scene.template(|spec| {
            let chatter = Chatter {
                blocks: 1000,
                lines: 100,
                pause: 1.0,
            };
            chatter.add_to(fixture, spec);
            node.place(&mut spec["template"]["spec"], 0);
        })?;
        scene.apply_noop(600)?;
        fixture.until_running(scene.namespace, scene.name)?;
        Written::hold_on(fixture, &node.pod_logs(), scene.namespace, &scene.pod())
    };
    let grounds = ["s3", "google", "azure", "file"]
        .iter()
        .map(|name| Grounds::prepare(fixture, &format!("lost-{name}")))
        .collect::<Result<Vec<_>>>()?;
    let directory = Directory::new()?;
    object_stores::with_all(&Cache::open()?, &Progress::default(), |servers| {
        let mut stores: Vec<&Running<'_>> = servers.iter().collect();
        let file = directory.running();
        stores.push(&file);
        let lost: Vec<_> = stores
            .iter()
            .zip(&grounds)
            .map(|(store, grounds)| {
                let name = format!("lost-in-{}", store.name);
                let operator = grounds.start_archiving(&store.properties)?;
                let written = place(&scene(fixture, &grounds.namespace, &name))?;
                Ok((name, operator, written))
            })
            .collect::<Result<_>>()?;
        for (store, (name, operator, _)) in stores.iter().zip(&lost) {
            wait_until(LIMIT, "parts of the log", || {
                Ok((store.parts()? > 2).then_some(()))
            })
            .with_context(|| format!("{name}: {}", operator.tail()))?;
        }
        node.power_off()?;
        node.until_lost()?;
        node.taint_out_of_service()?;
        for ((store, grounds), (name, operator, written)) in stores.iter().zip(&grounds).zip(&lost) {
            let scene = scene(fixture, &grounds.namespace, name);
            scene.until_reason("NodeLost").with_context(|| operator.tail())?;
            let reason = scene.until_archived().with_context(|| operator.tail())?;
            let log = store.log(name)?.context("no log")?;
            let (gaps, kept) = differs_by_what_is_declared(&log, &written.bytes()?)
                .with_context(|| format!("in {}", store.name))?;
            ensure!(
                reason == "Gap" && gaps == 1 && kept > 10_000,
                "{reason}: {kept} bytes, {gaps} gaps"
            );
        }
        Ok(())
    })?;
    node.down()
}
