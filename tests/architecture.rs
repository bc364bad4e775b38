//! The rules that the compiler does not check: which modules are pure, how long a module may be, how it is called.

#![allow(clippy::unwrap_used, clippy::panic)] // What tests call is test code.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules that decide and do nothing else; a directory stands for all modules in it.
const PURE: [&str; 92] = [
    "api",
    "druid",
    "task/snapshot.rs",
    "task/plan.rs",
    "task/verdict.rs",
    "task/evidence.rs",
    "task/waiting.rs",
    "task/settings.rs",
    "task/admit.rs",
    "task/sizing.rs",
    "task/jvm.rs",
    "task/pod.rs",
    "task/chunks.rs",
    "task/payload_volume.rs",
    "task/pod_template.rs",
    "task/status.rs",
    "task/quantity.rs",
    "task/ladder.rs",
    "task/line.rs",
    "task/slots.rs",
    "task/shares.rs",
    "task/room.rs",
    "task/event_budget.rs",
    "task/retention.rs",
    "task/rungs.rs",
    "task/retry_policy.rs",
    "task/resources.rs",
    "task/overrides.rs",
    "task/grace.rs",
    "task/properties_file.rs",
    "task/select.rs",
    "task/template_shape.rs",
    "task/template_secrets.rs",
    "task/payload_consent.rs",
    "apiserver/classify",
    "apiserver/backoff.rs",
    "process/decide",
    "task/start.rs",
    "task/follow.rs",
    "task/conclude.rs",
    "task/finished.rs",
    "task/deadlines.rs",
    "task/death.rs",
    "task/retry.rs",
    "task/ledger.rs",
    "task/launch.rs",
    "task/log_plan.rs",
    "logs/sidecar_config.rs",
    "logs/verdict.rs",
    "logs/chain.rs",
    "logs/claim.rs",
    "logs/ours.rs",
    "logs/rebuild.rs",
    "logs/pace.rs",
    "logs/report.rs",
    "logs/location.rs",
    "logs/properties.rs",
    "logs/layout.rs",
    "logs/parts.rs",
    "logs/follower/chain.rs",
    "logs/follower/cut.rs",
    "logs/follower/mark.rs",
    "logs/follower/reader.rs",
    "logs/state.rs",
    "logs/record.rs",
    "task/keep_log.rs",
    "task/record.rs",
    "task/status_patch.rs",
    "task/new_task.rs",
    "task/submission.rs",
    "middle_manager/applied.rs",
    "middle_manager/backlog.rs",
    "middle_manager/provenance.rs",
    "middle_manager/submission.rs",
    "middle_manager/announcement.rs",
    "middle_manager/assignment.rs",
    "middle_manager/departed.rs",
    "middle_manager/doubts.rs",
    "middle_manager/drain.rs",
    "middle_manager/entries.rs",
    "middle_manager/known",
    "middle_manager/known.rs",
    "middle_manager/judge.rs",
    "middle_manager/moves.rs",
    "middle_manager/objects.rs",
    "middle_manager/overlord/refusal.rs",
    "middle_manager/report.rs",
    "middle_manager/orders.rs",
    "middle_manager/pods.rs",
    "middle_manager/reachability.rs",
    "middle_manager/view.rs",
    "middle_manager/history.rs",
];

/// What no pure module may mention: clients, clocks, randomness, environment, threads.
const EFFECTS: &str = r"(?x)
    \bkube::(Client|Api|api|client|runtime)\b | \bkube::\{[^}]*\b(Client|Api|api|client|runtime)\b
    | \b(tokio|futures|rand|getrandom|reqwest|hyper|axum)::
    | \bobject_store::(aws|azure|gcp|local|memory|[A-Z]|\{)
    | \b(Timestamp|Instant|SystemTime|Zoned)::now\b | \bUtc::now\b
    | \bstd::(env|fs|net|process|thread|io)\b | \bstd::\{[^}]*\b(env|fs|net|process|thread|io)\b
    | \b(println|eprintln|print|dbg)! | \btracing::
    | \basync\s+(fn|move|\{) | \.await\b
";

/// Effects that stay, each with its reason.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        "process/decide",
        "Instant::now",
        "a proof of leadership has to lapse whatever its holder does: the clock is read where it is asked for",
    ),
    (
        "task/chunks.rs",
        "std::io",
        "the traits by which gzip is read and written, here over memory",
    ),
    (
        "logs/report.rs",
        "std::io",
        "the traits by which gzip is read, here over memory",
    ),
];

const LONGEST: usize = 500;
const MEANINGLESS: [&str; 6] = ["util", "utils", "helper", "helpers", "manager", "common"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn modules(of: &Path) -> Vec<PathBuf> {
    if of.is_file() {
        return vec![of.to_owned()];
    }
    let mut entries: Vec<_> = fs::read_dir(of)
        .unwrap_or_else(|e| panic!("{}: {e}", of.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    let is_module = |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|e| e == "rs");
    entries
        .into_iter()
        .filter(is_module)
        .flat_map(|path| modules(&path))
        .collect()
}

fn name(module: &Path) -> String {
    module.strip_prefix(source()).unwrap().display().to_string()
}

fn is_test_code(module: &Path) -> bool {
    let stem = module.file_stem().unwrap().to_string_lossy();
    stem.ends_with("_tests") || stem == "fixtures"
}

/// The code of a module: without its tests, which stand at the end, and without comments.
fn code(module: &Path) -> String {
    let text = fs::read_to_string(module).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code = code.split("\n#[cfg(test)]\n#[path").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn effects(code: &str) -> Vec<String> {
    let effects = regex::Regex::new(EFFECTS).unwrap();
    effects
        .find_iter(code)
        .map(|found| found.as_str().to_owned())
        .collect()
}

#[test]
fn pure_modules_have_no_effects() {
    let mut seen_exceptions = 0;
    for module in PURE.iter().flat_map(|part| modules(&source().join(part))) {
        if is_test_code(&module) {
            continue;
        }
        let name = name(&module);
        for effect in effects(&code(&module)) {
            let excepted = EXCEPTIONS.iter().any(|(m, e, _)| *m == name && *e == effect);
            assert!(excepted, "src/{name} is to be pure and has {effect}");
            seen_exceptions += 1;
        }
    }
    assert_eq!(
        seen_exceptions,
        EXCEPTIONS.len(),
        "an exception is not needed any more"
    );
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
        "use object_store::path::Path;",
        "environment",
    ] {
        assert_eq!(effects(pure), Vec::<String>::new(), "{pure}");
    }
}

#[test]
fn no_module_is_long() {
    for module in modules(&source()) {
        let lines = fs::read_to_string(&module).unwrap().lines().count();
        assert!(lines <= LONGEST, "src/{} has {lines} lines", name(&module));
    }
}

#[test]
fn every_module_is_called_after_what_it_is() {
    for module in modules(&source()) {
        let meaningless = |part: &std::ffi::OsStr| MEANINGLESS.iter().any(|m| part == *m);
        let stem = module.strip_prefix(source()).unwrap().with_extension("");
        assert!(!stem.iter().any(meaningless), "src/{}", name(&module));
    }
}
