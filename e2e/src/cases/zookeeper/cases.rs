//! The cases: workers are announced where Druid looks for them, and stay so.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    druid::Eyes,
    program::{LIMIT, Program},
    server::Server,
    wire::{Found, Node, Session},
};
use crate::cases::{Check, standalone};
use crate::testbed::{
    cache::Cache,
    images::{self, Classes},
    progress::Progress,
    wait::wait_until,
};

/// The cases, which may run beside each other.
pub const CASES: &[Check] = &[
    standalone("zookeeper::announces_and_withdraws", announces_and_withdraws),
    standalone(
        "zookeeper::druid_sees_what_is_announced",
        druid_sees_what_is_announced,
    ),
    standalone(
        "zookeeper::comes_back_after_its_session_expired",
        comes_back_after_its_session_expired,
    ),
    standalone(
        "zookeeper::comes_back_after_the_server_froze",
        comes_back_after_the_server_froze,
    ),
    standalone(
        "zookeeper::takes_over_from_a_dead_process",
        takes_over_from_a_dead_process,
    ),
    standalone(
        "zookeeper::two_processes_do_not_fight",
        two_processes_do_not_fight,
    ),
    standalone(
        "zookeeper::restores_what_is_taken_away",
        restores_what_is_taken_away,
    ),
    standalone(
        "zookeeper::reads_what_an_indexer_announces",
        reads_what_an_indexer_announces,
    ),
    standalone("zookeeper::writes_with_druids_acl", writes_with_druids_acl),
    standalone(
        "zookeeper::survives_a_restart_of_the_server",
        survives_a_restart_of_the_server,
    ),
    standalone("zookeeper::waits_for_a_server", waits_for_a_server),
];

/// Where the workers are with the base path `druid`.
const WORKERS: &str = "/druid/internal-discovery/MIDDLE_MANAGER";
/// So short that the end of a session is worth waiting for.
const SHORT: &[&str] = &["--session-ms", "2000"];
/// So long that no session ends within a case.
const LONG: &[&str] = &["--session-ms", "600000"];

fn node(server: &Server, name: &str) -> Result<Found<Node>> {
    Session::open(server.port)?.get(&format!("{WORKERS}/{name}"))
}

/// The node of that worker, once it is so.
fn until_node(server: &Server, name: &str, what: &str, is: impl Fn(&Node) -> bool) -> Result<Node> {
    wait_until(LIMIT, what, || Ok(node(server, name)?.present().filter(&is)))
}

fn json(node: &Node) -> Result<Value> {
    serde_json::from_slice(&node.data).context("no JSON in the node")
}

/// The process that announced it.
fn instance(node: &Node) -> Result<String> {
    let said = json(node)?;
    let instance = said["druidNode"]["labels"]["peon.dev/instance"].as_str();
    Ok(instance.context("no instance")?.to_owned())
}

/// Whether the first worker was said to stand so at any time, with something wrong that has that word in it.
fn said(program: &Program, presence: &str, word: &str) -> bool {
    program.said().iter().map(|said| &said["0"]).any(|state| {
        let error = state["error"].as_str();
        state["presence"] == presence && error.is_some_and(|error| error.contains(word))
    })
}

fn announces_and_withdraws(cache: &Cache, progress: &Progress) -> Result<()> {
    let server = Server::start(cache, progress)?;
    let mut program = Program::start(&server, "only", LONG)?;
    program.tell("announce 0 bridge-0.druid.svc 8091 50")?;
    program.tell("announce 1 bridge-1.druid.svc 8091 50")?;
    program.until_it_is(0, "announced")?;
    program.until_it_is(1, "announced")?;
    let first = node(&server, "bridge-0.druid.svc:8091")?
        .present()
        .context("no node")?;
    ensure!(first.owner != 0, "it would stay for ever");
    let mut said = json(&first)?;
    ensure!(
        said["startTime"].is_string() && instance(&first)?.starts_with("only/"),
        "{said}"
    );
    said["startTime"] = Value::Null;
    said["druidNode"]["labels"] = Value::Null;
    let expected = json!({
        "druidNode": {
            "service": "druid/middleManager", "host": "bridge-0.druid.svc", "bindOnHost": false,
            "plaintextPort": 8091, "port": -1, "tlsPort": -1,
            "enablePlaintextPort": true, "enableTlsPort": false, "labels": null
        },
        "nodeType": "middleManager",
        "services": {"workerNodeService": {
            "type": "workerNodeService", "ip": "10.0.0.5", "capacity": 50, "version": "0",
            "category": "_default_worker_category"
        }},
        "startTime": null
    });
    ensure!(said == expected, "{said}");
    let mut session = Session::open(server.port)?;
    for above in ["/druid", "/druid/internal-discovery", WORKERS] {
        let node = session.get(above)?.present().context("a node above is missing")?;
        ensure!(node.owner == 0, "{above} would go with the session");
        let owners = session.owners(above)?;
        ensure!(
            owners == Found::Is(vec!["world:anyone".to_owned()]),
            "{above}: {owners:?}"
        );
    }
    // Druid does not look at a change: it has to be another node.
    program.tell("announce 0 bridge-0.druid.svc 8091 51")?;
    let second = until_node(&server, "bridge-0.druid.svc:8091", "another capacity", |node| {
        node.data != first.data
    })?;
    ensure!(second.created != first.created, "the node was changed");
    ensure!(json(&second)?["services"]["workerNodeService"]["capacity"] == 51);
    // Another address is another worker.
    program.tell("announce 0 bridge-0.druid.svc 8092 51")?;
    until_node(&server, "bridge-0.druid.svc:8092", "another port", |_| true)?;
    ensure!(
        node(&server, "bridge-0.druid.svc:8091")? == Found::Nothing,
        "the old address is still announced"
    );
    program.tell("withdraw 1")?;
    program.until("1 to be withdrawn", |said| said.get("1").is_none())?;
    ensure!(
        node(&server, "bridge-1.druid.svc:8091")? == Found::Nothing,
        "it is still announced"
    );
    ensure!(
        node(&server, "bridge-0.druid.svc:8092")?.present().is_some(),
        "the other one is gone, too"
    );
    // Its session would last for ten minutes more.
    program.stop()?;
    ensure!(
        node(&server, "bridge-0.druid.svc:8092")? == Found::Nothing,
        "the end left a worker behind"
    );
    Ok(())
}

/// The same by Druid's own classes: its first overlord, and one that comes later.
fn druid_sees_what_is_announced(cache: &Cache, progress: &Progress) -> Result<()> {
    let server = Server::start(cache, progress)?;
    let mut program = Program::start(&server, "only", LONG)?;
    let newest = images::class_path(Classes::Newest, cache, progress)?;
    let mut eyes = Eyes::open(server.class_path(), &server, "druid")?;
    eyes.until_seen(&["looks"])?;
    let line = |what: &str, capacity: u32| {
        format!(
            "{what} http://bridge.druid.svc:8091 10.0.0.5 {capacity} 0 _default_worker_category druid/middleManager"
        )
    };
    program.tell("announce 0 bridge.druid.svc 8091 50")?;
    eyes.until_seen(&["looks", &line("came", 50)])?;
    program.tell("announce 0 bridge.druid.svc 8091 51")?;
    eyes.until_seen(&["looks", &line("came", 50), &line("went", 50), &line("came", 51)])?;
    for classes in [server.class_path(), &newest] {
        Eyes::open(classes, &server, "/druid")?.until_seen(&[&line("came", 51), "looks"])?;
    }
    program.stop()?;
    let all = [
        line("came", 50),
        line("went", 50),
        line("came", 51),
        line("went", 51),
    ];
    eyes.until_seen(&["looks", &all[0], &all[1], &all[2], &all[3]])
}

/// The process was frozen, and its node is gone before it finds out.
fn comes_back_after_its_session_expired(cache: &Cache, progress: &Progress) -> Result<()> {
    let server = Server::start(cache, progress)?;
    let mut program = Program::start(&server, "only", SHORT)?;
    program.tell("announce 0 bridge 8091 1")?;
    program.until_it_is(0, "announced")?;
    let before = node(&server, "bridge:8091")?.present().context("no node")?;
    program.freeze()?;
    let gone = || Ok((node(&server, "bridge:8091")? == Found::Nothing).then_some(()));
    wait_until(LIMIT, "the session to end", gone)?;
    program.thaw()?;
    let after = until_node(&server, "bridge:8091", "the node to come back", |_| true)?;
    ensure!(after.owner != before.owner, "the session is the same");
    program.until_it_is(0, "announced")?;
    ensure!(said(&program, "absent", "has ended"), "{:?}", program.said());
    program.stop()
}

/// The server was frozen for so long that the process gave its session up, which the server still has.
fn comes_back_after_the_server_froze(cache: &Cache, progress: &Progress) -> Result<()> {
    let server = Server::start(cache, progress)?;
    let mut program = Program::start(&server, "only", SHORT)?;
    program.tell("announce 0 bridge 8091 1")?;
    program.until_it_is(0, "announced")?;
    let before = node(&server, "bridge:8091")?.present().context("no node")?;
    server.freeze()?;
    program.until_wrong(0, "absent", "no ZooKeeper answers")?;
    server.thaw()?;
    // While the session may live, what was announced is said to stand.
    ensure!(
        said(&program, "announced", "connection to ZooKeeper is lost"),
        "{:?}",
        program.said()
    );
    program.until_it_is(0, "announced")?;
    let after = node(&server, "bridge:8091")?.present().context("no node")?;
    ensure!(after.owner != before.owner, "the session is the same");
    program.stop()
}

/// A process that died at once takes nothing with it for as long as its session lives.
fn takes_over_from_a_dead_process(cache: &Cache, progress: &Progress) -> Result<()> {
    let server = Server::start(cache, progress)?;
    let mut first = Program::start(&server, "first", LONG)?;
    first.tell("announce 0 bridge 8091 1")?;
    first.until_it_is(0, "announced")?;
    // Killed.
    drop(first);
    let dead = node(&server, "bridge:8091")?
        .present()
        .context("it took its node with it")?;
    let step = progress.step("another process");
    let mut second = Program::start(&server, "second", LONG)?;
    second.tell("announce 0 bridge 8091 1")?;
    second.until_it_is(0, "announced")?;
    let alive = node(&server, "bridge:8091")?.present().context("no node")?;
    step.done("has taken over");
    ensure!(alive.owner != dead.owner && instance(&alive)?.starts_with("second/"));
    second.stop()
}

/// The younger one has it, and the older one follows when that goes.
fn two_processes_do_not_fight(cache: &Cache, progress: &Progress) -> Result<()> {
    let server = Server::start(cache, progress)?;
    let mut older = Program::start(&server, "older", LONG)?;
    older.tell("announce 0 bridge 8091 1")?;
    older.until_it_is(0, "announced")?;
    let mut younger = Program::start(&server, "younger", SHORT)?;
    younger.tell("announce 0 bridge 8091 1")?;
    younger.until_it_is(0, "announced")?;
    let said = older.until_it_is(0, "superseded")?;
    let its = node(&server, "bridge:8091")?.present().context("no node")?;
    ensure!(said["0"]["by"] == instance(&its)?.as_str(), "{said}");
    // However often it is asked to.
    for _ in 0..3 {
        older.tell("withdraw 0")?;
        older.until("0 to be withdrawn", |said| said.get("0").is_none())?;
        older.tell("announce 0 bridge 8091 1")?;
        older.until_it_is(0, "superseded")?;
    }
    ensure!(
        node(&server, "bridge:8091")? == Found::Is(its),
        "the older one took it back"
    );
    ensure!(
        younger
            .said()
            .iter()
            .all(|said| said["0"]["presence"] == "announced"),
        "{:?}",
        younger.said()
    );
    // Killed: its node goes with its session.
    drop(younger);
    older.until_it_is(0, "announced")?;
    let back = node(&server, "bridge:8091")?.present().context("no node")?;
    ensure!(instance(&back)?.starts_with("older/"));
    older.stop()
}

/// Somebody deletes the node, again and again.
fn restores_what_is_taken_away(cache: &Cache, progress: &Progress) -> Result<()> {
    let server = Server::start(cache, progress)?;
    let mut program = Program::start(&server, "only", LONG)?;
    program.tell("announce 0 bridge 8091 1")?;
    program.until_it_is(0, "announced")?;
    let path = format!("{WORKERS}/bridge:8091");
    let mut thief = Session::open(server.port)?;
    let mut last = thief.get(&path)?.present().context("no node")?;
    for _ in 0..3 {
        ensure!(thief.delete(&path)?);
        last = until_node(&server, "bridge:8091", "the node to come back", |node| {
            node.created != last.created
        })?;
    }
    ensure!(
        said(&program, "announced", "does another worker use this address"),
        "{:?}",
        program.said()
    );
    program.until_it_is(0, "announced")?;
    // One that nobody keeps, as no worker makes it, does not stand in the way.
    program.tell("withdraw 0")?;
    program.until("0 to be withdrawn", |said| said.get("0").is_none())?;
    thief.create(&path)?;
    program.tell("announce 0 bridge 8091 1")?;
    program.until_it_is(0, "announced")?;
    let ours = thief.get(&path)?.present().context("no node")?;
    ensure!(ours.owner != 0 && instance(&ours)?.starts_with("only/"));
    // Druid takes the nodes above away where it made them and they are empty.
    program.tell("withdraw 0")?;
    program.until("0 to be withdrawn", |said| said.get("0").is_none())?;
    ensure!(thief.delete(WORKERS)?);
    program.tell("announce 0 bridge 8091 1")?;
    program.until_it_is(0, "announced")?;
    program.stop()
}

/// In the session that announces, which ends with its announcements all the same.
fn reads_what_an_indexer_announces(cache: &Cache, progress: &Progress) -> Result<()> {
    let mut server = Server::prepare(cache, progress)?;
    let mut program = Program::start(&server, "only", LONG)?;
    let read = |program: &mut Program, what: &str, expected: &Value| {
        program.tell("read 10.1.2.3:8091")?;
        program.until(what, |said| said["read"] == *expected).map(drop)
    };
    let none = json!({"error": "there is no session with ZooKeeper"});
    read(&mut program, "no session", &none)?;
    server.run()?;
    program.tell("announce 0 bridge 8091 1")?;
    program.until_it_is(0, "announced")?;
    read(&mut program, "no announcement", &json!({"announcement": null}))?;
    let mut session = Session::open(server.port)?;
    session.create("/druid/internal-discovery/INDEXER")?;
    let path = "/druid/internal-discovery/INDEXER/10.1.2.3:8091";
    session.create_with(path, b"{}")?;
    read(&mut program, "the announcement", &json!({"announcement": "{}"}))?;
    // It goes on in the next session.
    server.end();
    server.run()?;
    program.until_it_is(0, "announced")?;
    let mut session = Session::open(server.port)?;
    ensure!(session.delete(path)?);
    session.create_with(path, b"{\"services\":{}}")?;
    read(
        &mut program,
        "another",
        &json!({"announcement": "{\"services\":{}}"}),
    )?;
    // Its session would last for ten minutes more.
    program.stop()?;
    ensure!(
        node(&server, "bridge:8091")? == Found::Nothing,
        "the reader keeps the session"
    );
    Ok(())
}

/// What is created belongs to the given user alone, as Druid has it with `druid.zk.service.acl=true`.
fn writes_with_druids_acl(cache: &Cache, progress: &Progress) -> Result<()> {
    const USER: &str = "druid:of-the-tests";
    /// The user and the SHA-1 of both in Base64, as ZooKeeper keeps it.
    const OWNER: &str = "digest:druid:";
    let server = Server::start(cache, progress)?;
    let mut program = Program::start(&server, "entitled", &[LONG, &["--digest", USER]].concat())?;
    program.tell("announce 0 bridge 8091 1")?;
    program.until_it_is(0, "announced")?;
    let path = format!("{WORKERS}/bridge:8091");
    let mut stranger = Session::open(server.port)?;
    ensure!(stranger.get(&path)? == Found::Forbidden, "anybody can read it");
    let mut entitled = Session::open(server.port)?;
    entitled.authenticate(USER)?;
    ensure!(
        entitled.get(&path)?.present().is_some(),
        "its owner cannot read it"
    );
    for path in ["/druid", "/druid/internal-discovery", WORKERS, &path] {
        let owners = entitled.owners(path)?.present().context("no owner")?;
        let [owner] = owners.as_slice() else {
            anyhow::bail!("{path}: {owners:?}");
        };
        ensure!(
            owner.starts_with(OWNER) && !owner.contains("of-the-tests"),
            "{path}: {owner}"
        );
    }
    // Whoever has not been told of them hears which setting it is.
    for digest in [&[][..], &["--digest", "druid:wrong"]] {
        let mut other = Program::start(&server, "other", &[LONG, digest].concat())?;
        other.tell("announce 0 bridge 8091 1")?;
        other.tell("announce 1 bridge 8092 1")?;
        other.until_wrong(0, "absent", "spec.discovery.zookeeper.authRef")?;
        other.until_wrong(1, "absent", "spec.discovery.zookeeper.authRef")?;
        other.stop()?;
    }
    program.stop()
}

fn survives_a_restart_of_the_server(cache: &Cache, progress: &Progress) -> Result<()> {
    let mut server = Server::start(cache, progress)?;
    let mut patient = Program::start(&server, "patient", LONG)?;
    patient.tell("announce 0 bridge 8091 1")?;
    patient.until_it_is(0, "announced")?;
    let before = node(&server, "bridge:8091")?.present().context("no node")?;
    server.end();
    patient.until_wrong(0, "announced", "connection to ZooKeeper is lost")?;
    server.run()?;
    patient.until_it_is(0, "announced")?;
    ensure!(
        node(&server, "bridge:8091")? == Found::Is(before),
        "it was announced anew"
    );
    // The watch has come through, too.
    ensure!(Session::open(server.port)?.delete(&format!("{WORKERS}/bridge:8091"))?);
    until_node(&server, "bridge:8091", "the node to come back", |_| true)?;
    patient.stop()?;
    // A server that lost what it knew has neither session nor node.
    let mut program = Program::start(&server, "only", SHORT)?;
    program.tell("announce 0 bridge 8091 1")?;
    program.until_it_is(0, "announced")?;
    server.lose()?;
    program.until_wrong(0, "absent", "Connection refused")?;
    server.run()?;
    program.until_it_is(0, "announced")?;
    ensure!(node(&server, "bridge:8091")?.present().is_some(), "no node");
    program.stop()
}

fn waits_for_a_server(cache: &Cache, progress: &Progress) -> Result<()> {
    let mut server = Server::prepare(cache, progress)?;
    let mut program = Program::start(&server, "only", SHORT)?;
    program.tell("announce 0 bridge 8091 1")?;
    program.until_wrong(0, "absent", "Connection refused")?;
    server.run()?;
    program.until_it_is(0, "announced")?;
    ensure!(node(&server, "bridge:8091")?.present().is_some(), "no node");
    program.stop()
}
