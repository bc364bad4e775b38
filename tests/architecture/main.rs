//! The rules that the compiler does not check: which room may import which, which rooms are pure, how long a module may
//! be, how it is called.

#![allow(clippy::unwrap_used, clippy::panic)] // What tests call is test code.

mod library;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use library::{Module, imported, library, source};
use regex::Regex;

/// Rooms that every other may import.
const LEAVES: [&str; 4] = ["clock", "digest", "metrics", "quantity"];

/// What each room may import beside [`LEAVES`]. `app` puts all together, `simulation` tests all.
const ROOMS: [(&str, &[&str]); 18] = [
    ("clock", &[]),
    ("digest", &[]),
    ("metrics", &[]),
    ("quantity", &[]),
    ("druid", &[]),
    ("api", &["druid"]),
    ("druid_http", &["druid"]),
    ("apiserver", &["api"]),
    ("payload", &["api", "druid", "apiserver"]),
    ("process", &["apiserver"]),
    ("logs", &["api", "druid", "apiserver", "process"]),
    ("indexer", &["druid", "druid_http", "apiserver"]),
    (
        "task",
        &[
            "api",
            "druid",
            "apiserver",
            "payload",
            "process",
            "logs",
            "indexer",
        ],
    ),
    (
        "middle_manager",
        &[
            "api",
            "druid",
            "druid_http",
            "apiserver",
            "payload",
            "process",
            "logs",
        ],
    ),
    (
        "pool",
        &[
            "api",
            "druid",
            "druid_http",
            "apiserver",
            "process",
            "logs",
            "indexer",
            "task",
        ],
    ),
    (
        "cli",
        &["api", "druid", "apiserver", "payload", "logs", "task", "pool"],
    ),
    (
        "app",
        &[
            "api",
            "druid",
            "druid_http",
            "apiserver",
            "payload",
            "process",
            "logs",
            "indexer",
            "task",
            "pool",
            "middle_manager",
            "cli",
        ],
    ),
    (
        "simulation",
        &[
            "api",
            "druid",
            "druid_http",
            "apiserver",
            "payload",
            "process",
            "logs",
            "indexer",
            "task",
            "pool",
            "middle_manager",
        ],
    ),
];

/// What decides and does nothing else, with every folder named `decide`.
const PURE: [&str; 13] = [
    "api",
    "druid",
    "digest",
    "quantity",
    "apiserver/backoff",
    "apiserver/classify",
    "payload/chunks",
    "logs/format",
    "task/accept",
    "task/aggregates",
    "task/run",
    "task/snapshot",
    "middle_manager/registry",
];

/// Of `task` and `pool`, the command line may import only what is pure.
const PURE_FOR: [(&str, &str); 2] = [("cli", "task"), ("cli", "pool")];

/// What no pure module may mention: clients, clocks, randomness, environment, threads.
const EFFECTS: &str = r"(?x)
    \bkube::(Client|Api|api|client|runtime)\b | \bkube::\{[^}]*\b(Client|Api|api|client|runtime)\b
    | \b(tokio|futures|rand|getrandom|reqwest|hyper|axum)::
    | \bobject_store::(aws|azure|gcp|local|memory|[A-Z]|\{)
    | \b(Timestamp|Instant|SystemTime|Zoned)::now\b | \bUtc::now\b
    | \bstd::(env|fs|net|process|thread)\b | \bstd::\{[^}]*\b(env|fs|net|process|thread)\b
    | \bio::(stdin|stdout|stderr)\b | \bio::\{[^}]*\b(stdin|stdout|stderr)\b
    | \b(println|eprintln|print|dbg)! | \btracing::
    | \basync\s+(fn|move|\{) | \.await\b
";

/// No module is longer, and no folder has more modules.
const LONGEST: usize = 500;
const MOST_IN_A_FOLDER: usize = 25;

/// File stems that say nothing, and words that were given up for those of Kubernetes and Druid.
const FORBIDDEN: [&str; 44] = [
    "util",
    "utils",
    "helper",
    "helpers",
    "manager",
    "common",
    "kube",
    "admit",
    "bind",
    "known",
    "moves",
    "line",
    "keep",
    "adopt",
    "complete",
    "standing",
    "judge",
    "departed",
    "doubts",
    "orders",
    "place",
    "way",
    "room",
    "problem",
    "histories",
    "look",
    "start",
    "launch",
    "ledger",
    "rungs",
    "insist",
    "mark",
    "taken",
    "pace",
    "journal",
    "equipment",
    "mounted",
    "upkeep",
    "desire",
    "span",
    "eyes",
    "binder",
    "made_up",
    "ours",
];

/// Whether a module has to be pure.
fn is_pure(module: &Module) -> bool {
    let path = module.path();
    let folders = &path[..path.len() - usize::from(!module.file.ends_with("/mod.rs"))];
    folders.contains(&"decide") || PURE.iter().any(|pure| is_below(&path.join("/"), pure))
}

/// Whether a path is that folder or module, or is in it.
fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn effects(code: &str) -> Vec<String> {
    static FOUND_BY: LazyLock<Regex> = LazyLock::new(|| Regex::new(EFFECTS).unwrap());
    FOUND_BY
        .find_iter(code)
        .map(|found| found.as_str().to_owned())
        .collect()
}

/// Imports of a room that the table does not have.
fn against_the_table(module: &Module) -> Vec<String> {
    let room = module.room();
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!(
            "src/{}: {room} is not in the table of rooms",
            module.file
        )];
    };
    let is_room = |name: &str| ROOMS.iter().any(|(room, _)| *room == name);
    let imports = module.imports();
    let other = imports.iter().filter_map(|path| path.split('/').next());
    other
        .filter(|other| *other != room && is_room(other))
        .filter(|other| !LEAVES.contains(other) && !allowed.contains(other))
        .map(|other| format!("src/{} imports {other}, which {room} may not", module.file))
        .collect()
}

/// Effects of a pure module, and imports of modules that are not pure.
fn impurities(module: &Module, modules: &[Module]) -> Vec<String> {
    let mut found: Vec<String> = effects(&module.code)
        .into_iter()
        .map(|effect| format!("src/{} is to be pure and has {effect}", module.file))
        .collect();
    for path in module.imports() {
        if let Some(other) = imported(modules, &path)
            && !is_pure(other)
            // A room's own module that only declares others has no code to be impure with.
            && !effects(&other.code).is_empty()
        {
            found.push(format!("src/{} is to be pure and imports {path}", module.file));
        }
    }
    found
}

/// Rooms that import each other, directly or through others.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        room: &str,
        imports: &BTreeMap<String, BTreeSet<String>>,
        trail: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(at) = trail.iter().position(|seen| seen == room) {
            return Some(trail[at..].to_vec());
        }
        if !done.contains(room) {
            trail.push(room.to_owned());
            for next in imports.get(room).into_iter().flatten() {
                if let Some(found) = visit(next, imports, trail, done) {
                    return Some(found);
                }
            }
            trail.pop();
            done.insert(room.to_owned());
        }
        None
    }
    let mut done = BTreeSet::new();
    imports
        .keys()
        .find_map(|room| visit(room, imports, &mut Vec::new(), &mut done))
}

fn room_imports(modules: &[Module]) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for module in modules.iter().filter(|module| !module.is_test) {
        let paths = module.imports();
        let rooms = paths
            .iter()
            .filter_map(|path| path.split('/').next().map(str::to_owned));
        let others = rooms.filter(|room| room != module.room());
        all.entry(module.room().to_owned()).or_default().extend(others);
    }
    all
}

fn forbidden_names(file: &str) -> Vec<&str> {
    let stems = file.trim_end_matches(".rs").split('/');
    stems
        .filter(|stem| FORBIDDEN.contains(&stem.trim_end_matches("_tests")))
        .collect()
}

#[test]
fn rooms_import_what_the_table_says() {
    let modules = library();
    let wrong: Vec<String> = modules
        .iter()
        .filter(|module| !module.is_test)
        .flat_map(against_the_table)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(circle(&room_imports(&modules)), None);
}

#[test]
fn pure_rooms_have_no_effects_and_import_none() {
    let modules = library();
    let pure = modules.iter().filter(|module| is_pure(module) && !module.is_test);
    let wrong: Vec<String> = pure.flat_map(|module| impurities(module, &modules)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_room_imports_only_what_is_pure_where_the_table_says_so() {
    let modules = library();
    for (room, other) in PURE_FOR {
        for module in modules
            .iter()
            .filter(|module| module.room() == room && !module.is_test)
        {
            for path in module.imports() {
                let found = imported(&modules, &path).filter(|found| found.room() == other);
                assert!(
                    found.is_none_or(|found| is_pure(found) || effects(&found.code).is_empty()),
                    "src/{} imports {path}, which is not pure",
                    module.file
                );
            }
        }
    }
}

/// Each rule finds what is planted against it.
#[test]
fn what_is_planted_is_found() {
    let planted = Module::new("druid/payload.rs", "use crate::task::decide::plan;\n");
    assert_eq!(
        against_the_table(&planted),
        ["src/druid/payload.rs imports task, which druid may not"]
    );
    let grouped = Module::new(
        "logs/store/client.rs",
        "use crate::{api::names, task::{self, decide}};\n",
    );
    assert_eq!(
        against_the_table(&grouped),
        ["src/logs/store/client.rs imports task, which logs may not"]
    );
    let room = Module::new("extras/mod.rs", "");
    assert_eq!(against_the_table(&room).len(), 1);

    let effect = Module::new("task/effects/act.rs", "async fn act() {}\n");
    let pure = Module::new(
        "task/decide/plan/mod.rs",
        "use super::super::effects::act::Actor;\n",
    );
    assert_eq!(
        impurities(&pure, &[effect]),
        ["src/task/decide/plan/mod.rs is to be pure and imports task/effects/act/Actor"]
    );
    let clock = Module::new(
        "middle_manager/submit/decide/backlog.rs",
        "let now = Instant::now();\n",
    );
    assert!(is_pure(&clock));
    assert_eq!(impurities(&clock, &[]).len(), 1);

    let one = Module::new("apiserver/client.rs", "use crate::process::telemetry;\n");
    let other = Module::new("process/election.rs", "use crate::apiserver::error;\n");
    assert_eq!(
        circle(&room_imports(&[one, other])),
        Some(vec!["apiserver".to_owned(), "process".to_owned()])
    );

    for old in [
        "task/admit.rs",
        "middle_manager/known/mod.rs",
        "kube/client.rs",
        "cli/desire_tests.rs",
    ] {
        assert_eq!(forbidden_names(old).len(), 1, "{old}");
    }
}

#[test]
fn effects_are_recognised() {
    for effect in [
        "use kube::Client;",
        "use kube::{Api, ResourceExt};",
        "use kube::runtime::watcher;",
        "tokio::time::sleep(x)",
        "let now = Timestamp::now();",
        "Instant::now()",
        "use std::env;",
        "use std::{fmt, fs};",
        "std::fs::read(x)",
        "std::io::stdin()",
        "use std::io::{self, stdout};",
        "rand::random()",
        "use object_store::{ObjectStore, path::Path};",
        "async fn f() {}",
        "f().await",
    ] {
        assert!(!effects(effect).is_empty(), "{effect}");
    }
    for pure in [
        "use kube::ResourceExt;",
        "use kube::core::Status;",
        "operands::x()",
        "use std::fmt;",
        // Traits, here over memory.
        "use std::io::{Read, Write};",
        "use object_store::path::Path;",
        "environment",
    ] {
        assert_eq!(effects(pure), Vec::<String>::new(), "{pure}");
    }
}

#[test]
fn no_module_is_long_and_no_folder_is_full() {
    let mut folders: BTreeMap<String, usize> = BTreeMap::new();
    for module in library() {
        let lines = fs::read_to_string(source().join(&module.file))
            .unwrap()
            .lines()
            .count();
        assert!(lines <= LONGEST, "src/{} has {lines} lines", module.file);
        let folder = module.file.rsplit_once('/').map_or("", |(folder, _)| folder);
        *folders.entry(folder.to_owned()).or_default() += 1;
    }
    folders.retain(|_, modules| *modules > MOST_IN_A_FOLDER);
    assert!(folders.is_empty(), "{folders:?}");
}

#[test]
fn every_module_is_called_after_what_it_is() {
    for module in library() {
        let forbidden = forbidden_names(&module.file);
        assert!(forbidden.is_empty(), "src/{}: {forbidden:?}", module.file);
    }
}
