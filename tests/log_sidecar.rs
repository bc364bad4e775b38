//! The real `log-sidecar` with a store in a directory and somebody who writes a log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end this way")]

use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use peon_operator::logs::format::sidecar_config::SHARED_DIR;
use peon_operator::logs::format::sidecar_message::LogVerdict;
use peon_operator::task::run::pod::entrypoint::{self, Output};
use serde_json::{Value, json};

const ID: &str = "index parallel_ü_2026-11-21T01:31:38.123Z";
const MIB: usize = 1 << 20;

/// What a pod has: the shared volume, the task's directory, the sidecar's files, and a store.
struct Pod {
    root: PathBuf,
    sidecar: Option<Child>,
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(sidecar) = &mut self.sidecar {
            let _ = sidecar.kill();
            let _ = sidecar.wait();
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Pod {
    fn new(name: &str, config: &Value) -> Self {
        let root = std::env::temp_dir().join(format!("peon-log-sidecar-{}-{name}", std::process::id()));
        for dir in [
            "shared",
            "scratch/task/attempt/1",
            "sources/00",
            "sources/01",
            "store",
        ] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let pod = Self { root, sidecar: None };
        let root = &pod.root;
        pod.tell(config);
        fs::write(root.join("sources/00/druid.indexer.logs.type"), "noop\n").unwrap();
        fs::write(root.join("sources/01/druid.indexer.logs.type"), "file\n").unwrap();
        let store = root.join("store").display().to_string();
        fs::write(root.join("sources/01/druid.indexer.logs.directory"), store).unwrap();
        // As if somebody read all of the container's log at once.
        fs::write(root.join("shared/shown"), format!("{}\n", u64::MAX)).unwrap();
        pod
    }

    /// What it is told, unless this says something else.
    fn tell(&self, other: &Value) {
        let mut told = json!({"taskId": ID, "taskUid": "uid", "namespace": "ns", "taskName": "n", "attempt": 1, "flushSeconds": 1, "compose": true});
        told.as_object_mut()
            .unwrap()
            .extend(other.as_object().unwrap().clone());
        fs::write(self.root.join("log.json"), told.to_string()).unwrap();
    }

    fn start(&mut self) {
        let at = |name: &str| self.root.join(name);
        let sidecar = Command::new(env!("CARGO_BIN_EXE_peon-operator"))
            .arg("log-sidecar")
            .arg("--config")
            .arg(at("log.json"))
            .arg("--sources")
            .arg(at("sources"))
            .arg("--shared")
            .arg(at("shared"))
            .arg("--scratch")
            .arg(at("scratch"))
            .arg("--verdict")
            .arg(at("verdict"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.sidecar = Some(sidecar);
    }

    fn signal(&self, signal: &str) {
        let id = self.sidecar.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    fn kill(&mut self) {
        let mut sidecar = self.sidecar.take().unwrap();
        sidecar.kill().unwrap();
        sidecar.wait().unwrap();
    }

    /// As the kubelet ends it, when the peon has ended.
    fn terminate(&mut self) -> LogVerdict {
        self.signal("-TERM");
        self.ended()
    }

    fn ended(&mut self) -> LogVerdict {
        let mut sidecar = self.sidecar.take().unwrap();
        let code = until("the sidecar ends", || sidecar.try_wait().unwrap());
        assert!(code.success(), "{code}");
        self.verdict().unwrap()
    }

    fn verdict(&self) -> Option<LogVerdict> {
        LogVerdict::parse(&fs::read_to_string(self.root.join("verdict")).ok()?)
    }

    fn kept(&self) -> usize {
        self.verdict()
            .map_or(0, |verdict| usize::try_from(verdict.log_bytes).unwrap())
    }

    fn stored(&self, suffix: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(format!("store/{ID}{suffix}"))).ok()
    }

    /// Everything in the store, as paths below it, but for the files that keep its folders.
    fn objects(&self) -> Vec<String> {
        let found = Command::new("find")
            .arg(self.root.join("store"))
            .args(["-type", "f", "-printf", "%P\n"])
            .output();
        let found = String::from_utf8(found.unwrap().stdout).unwrap();
        let ours = |path: &&str| !path.ends_with("/in-use") && !path.starts_with(".peon/claims/");
        let paths = found.lines().filter(ours);
        let mut found: Vec<_> = paths.map(str::to_owned).collect();
        found.sort();
        found
    }

    fn log(&self) -> File {
        File::options()
            .create(true)
            .append(true)
            .open(self.root.join("shared/log"))
            .unwrap()
    }

    /// Most memory that the sidecar ever had, in bytes.
    fn memory(&self) -> usize {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.sidecar.as_ref().unwrap().id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }
}

/// Bytes that are nowhere the same.
fn bytes(from: usize, length: usize) -> Vec<u8> {
    let word = |at: usize| at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    let from_word = from / 8;
    let words: Vec<u8> = (from_word..=(from + length) / 8).flat_map(word).collect();
    words[from - from_word * 8..][..length].to_vec()
}

/// Killed again and again while 50 MiB are written, it loses nothing and keeps nothing twice.
#[test]
fn what_is_archived_is_what_was_written() {
    let mut pod = Pod::new("killed", &json!({}));
    fs::write(pod.root.join("shared/peak-memory"), "123456\n").unwrap();
    let (mut log, mut written) = (pod.log(), 0);
    let mut most_memory = 0;
    for round in 0..5 {
        pod.start();
        for length in [3 * MIB, 5 * MIB + 1, 2 * MIB - 1] {
            log.write_all(&bytes(written, length)).unwrap();
            written += length;
        }
        // At another moment each time: before it had a look, in between, and when it had all of it.
        let enough = written - [10 * MIB, 2 * MIB, 0, MIB, 0][round];
        until("parts", || (pod.kept() >= enough).then_some(()));
        most_memory = most_memory.max(pod.memory());
        if round < 4 {
            pod.kill();
        }
    }
    let held = fs::metadata(pod.root.join("shared/log")).unwrap().blocks() * 512;
    println!("{most_memory} bytes of memory, {held} bytes on disk for {written} written");
    assert!(most_memory < 64 * MIB, "{most_memory}");
    assert!(held < 20 << 20, "{held}");
    let report = b"{\"ingestionStatsAndErrors\": {}}";
    fs::write(pod.root.join("scratch/task/attempt/1/report.json"), report).unwrap();
    log.write_all(b"the last words").unwrap();
    let verdict = pod.terminate();
    let expected = [bytes(0, written), b"the last words".to_vec()].concat();
    assert!(pod.stored(".log").unwrap() == expected);
    assert_eq!(pod.stored(".report.json").unwrap(), report);
    assert_eq!(
        verdict,
        LogVerdict {
            log_bytes: u64::try_from(expected.len()).unwrap(),
            complete: true,
            published: false,
            out_of_memory: false,
            archived: true,
            report: true,
            peak_memory_bytes: Some(123_456),
            message: String::new(),
            notice: None,
        }
    );
    let whole = [
        ".peon/composed/uid".to_owned(),
        format!("{ID}.log"),
        format!("{ID}.report.json"),
    ];
    assert_eq!(pod.objects(), whole);
}

/// Whoever is root may write anywhere: a store that is away is a file where its directory should be.
#[test]
fn a_store_that_is_away_for_a_while_is_asked_again() {
    let mut pod = Pod::new("away", &json!({}));
    let (store, away) = (pod.root.join("store"), pod.root.join("away"));
    let go = || {
        fs::rename(&store, &away).unwrap();
        fs::write(&store, "").unwrap();
    };
    let come = || {
        fs::remove_file(&store).unwrap();
        fs::rename(&away, &store).unwrap();
    };
    let failed = |pod: &Pod| pod.verdict().is_some_and(|verdict| !verdict.message.is_empty());
    go();
    pod.log().write_all(&bytes(0, 9 * MIB)).unwrap();
    pod.start();
    until("a failure is said", || failed(&pod).then_some(()));
    come();
    until("it is archived", || {
        (pod.kept() == 9 * MIB && !failed(&pod)).then_some(())
    });
    go();
    pod.log().write_all(&bytes(9 * MIB, 9 * MIB)).unwrap();
    until("a failure is said", || failed(&pod).then_some(()));
    let said = pod.verdict().unwrap();
    assert!(!said.archived && said.log_bytes >= 9 << 20, "{said:?}");
    // It does not give up when it is asked to stop.
    fs::remove_file(pod.root.join("verdict")).unwrap();
    pod.signal("-TERM");
    until("a failure is said", || failed(&pod).then_some(()));
    come();
    let verdict = pod.ended();
    assert!(verdict.archived && verdict.message.is_empty(), "{verdict:?}");
    assert!(pod.stored(".log").unwrap() == bytes(0, 18 * MIB));
}

#[test]
fn of_a_log_beyond_the_limit_the_beginning_is_kept_and_it_says_so() {
    let mut pod = Pod::new("limit", &json!({"maxBytes": 10 * MIB}));
    pod.start();
    let mut log = pod.log();
    log.write_all(&bytes(0, 30 * MIB)).unwrap();
    until("all there is room for", || (pod.kept() == 10 * MIB).then_some(()));
    let used = || fs::metadata(pod.root.join("shared/log")).unwrap().blocks() * 512;
    until("what is dropped is freed", || (used() < 1 << 20).then_some(()));
    pod.kill();
    pod.start();
    log.write_all(b"last").unwrap();
    until("it listens", || listens(&pod).then_some(()));
    let verdict = pod.terminate();
    let stored = pod.stored(".log").unwrap();
    assert!(stored[..10 * MIB] == bytes(0, 10 * MIB));
    let notice = String::from_utf8(stored[10 * MIB..].to_vec()).unwrap();
    assert!(
        notice.contains(&format!("{} bytes more", 20 * MIB + 4)),
        "{notice}"
    );
    assert!(
        verdict.archived && notice == format!("\n[peon-operator] {}\n", verdict.message),
        "{verdict:?}"
    );
    assert_eq!(pod.kept(), stored.len());
}

/// Never an empty object: reading a range of it is an error in some stores.
#[test]
fn a_peon_that_wrote_nothing_leaves_nothing() {
    let mut pod = Pod::new("nothing", &json!({}));
    pod.start();
    until("it has looked", || {
        fs::read_to_string(format!("/proc/{}/cmdline", pod.sidecar.as_ref()?.id()))
            .ok()
            .filter(|c| c.contains("log-sidecar"))
    });
    fs::write(pod.root.join("scratch/task/attempt/1/report.json"), "").unwrap();
    until("it listens", || listens(&pod).then_some(()));
    let verdict = pod.terminate();
    assert_eq!((verdict.log_bytes, verdict.report), (0, false));
    assert_eq!(pod.objects(), Vec::<String>::new());
}

/// Whether it catches SIGTERM by now.
fn listens(pod: &Pod) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pod.sidecar.as_ref().unwrap().id())).unwrap();
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & 1 << 14 != 0
}

/// The peon's own script writes the file, and copies it to where `kubectl logs` reads, while the sidecar frees it.
#[test]
fn what_the_script_shows_is_what_is_archived() {
    let mut pod = Pod::new("script", &json!({}));
    let root = pod.root.display().to_string();
    fs::remove_file(pod.root.join("shared/shown")).unwrap();
    fs::create_dir(pod.root.join("bin")).unwrap();
    let java = pod.root.join("bin/java");
    let writes = "n=0; while [ $n -lt 12 ]; do n=$((n + 1)); head -c 3000000 /dev/urandom; echo line $n; sleep .3; done";
    fs::write(&java, format!("#!/bin/sh\n{writes}; printf end >&2; exit 3\n")).unwrap();
    fs::set_permissions(&java, fs::Permissions::from_mode(0o755)).unwrap();
    pod.start();
    let script = entrypoint::script(Output::Sidecar, &["set -eu\npeon_host=$PEON_POD_IP\n"]);
    let script = script.replace(SHARED_DIR, &format!("{root}/shared"));
    let path = std::env::var("PATH").unwrap();
    let ended = Command::new("/bin/sh")
        .args(["-c", &script])
        .env("PATH", format!("{root}/bin:{path}"))
        .env("PEON_POD_IP", "10.0.0.1")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(3));
    assert!(
        ended.stdout.ends_with(b"line 12\nend"),
        "{} bytes",
        ended.stdout.len()
    );
    let held = fs::metadata(pod.root.join("shared/log")).unwrap().blocks() * 512;
    println!("{held} bytes on disk for {} written", ended.stdout.len());
    let verdict = pod.terminate();
    assert!(verdict.archived, "{verdict:?}");
    assert!(pod.stored(".log").unwrap() == ended.stdout);
}

/// Where another attempt may follow, the parts stay; the last one makes a log of all of them.
#[test]
fn parts_of_all_attempts_become_one_log() {
    let mut pod = Pod::new("attempts", &json!({"compose": false}));
    pod.log().write_all(b"first\n").unwrap();
    pod.start();
    until("a part", || (pod.kept() == 6).then_some(()));
    let verdict = pod.terminate();
    assert!(verdict.complete && !verdict.archived, "{verdict:?}");
    assert_eq!(pod.objects(), [".peon/parts/uid/0001-00000000-b6"]);
    pod.tell(&json!({"attempt": 2}));
    for file in ["verdict", "shared/log"] {
        fs::remove_file(pod.root.join(file)).unwrap();
    }
    pod.log().write_all(b"second\n").unwrap();
    pod.start();
    until("a part", || (pod.kept() == 7).then_some(()));
    let verdict = pod.terminate();
    assert!(
        verdict.complete && verdict.archived && verdict.log_bytes == 13,
        "{verdict:?}"
    );
    assert_eq!(pod.stored(".log").unwrap(), b"first\nsecond\n");
    // A log that is whole stays as it is, and the verdict does not say otherwise.
    pod.tell(&json!({"attempt": 3}));
    fs::remove_file(pod.root.join("verdict")).unwrap();
    pod.start();
    until("a part", || (pod.kept() == 7).then_some(()));
    let verdict = pod.terminate();
    assert!(
        !verdict.complete && !verdict.archived && verdict.message.contains("before"),
        "{verdict:?}"
    );
    assert_eq!(pod.stored(".log").unwrap(), b"first\nsecond\n");
}

/// Whether the task is run again depends on it.
#[test]
fn that_a_task_published_is_known_after_a_restart() {
    const SAID: &[u8] = b"INFO Task - Published [2] segments\n";
    let mut pod = Pod::new("published", &json!({"compose": false}));
    let mut log = pod.log();
    log.write_all(SAID).unwrap();
    pod.start();
    until("a part", || (pod.kept() == SAID.len()).then_some(()));
    pod.kill();
    fs::remove_file(pod.root.join("verdict")).unwrap();
    log.write_all(b"second\n").unwrap();
    pod.start();
    until("a part", || (pod.kept() == SAID.len() + 7).then_some(()));
    let verdict = pod.terminate();
    assert!(verdict.published && verdict.complete, "{verdict:?}");
}

/// A task does not fail for its log: the sidecar stays until the peon has ended.
#[test]
fn what_cannot_work_is_said_and_holds_nothing_up() {
    let mut pod = Pod::new(
        "wrong",
        &json!({"properties": {"druid.indexer.logs.type": "carrier-pigeon"}}),
    );
    pod.start();
    let said = until("a verdict", || pod.verdict());
    assert!(said.message.contains("carrier-pigeon"), "{said:?}");
    let verdict = pod.terminate();
    assert!(!verdict.archived, "{verdict:?}");
}

/// What is mounted of a Secret changes with it.
#[test]
fn what_is_mended_works_from_then_on() {
    let mut pod = Pod::new("mended", &json!({}));
    let directory = pod.root.join("sources/01/druid.indexer.logs.directory");
    fs::write(&directory, "relative").unwrap();
    pod.log().write_all(b"a log").unwrap();
    pod.start();
    let said = until("a verdict", || pod.verdict());
    assert!(said.message.contains("druid.indexer.logs.directory"), "{said:?}");
    fs::write(&directory, pod.root.join("store").display().to_string()).unwrap();
    until("a part", || (pod.kept() == 5).then_some(()));
    let verdict = pod.terminate();
    assert!(verdict.archived && verdict.message.is_empty(), "{verdict:?}");
}

/// It has the store's keys and the peon has not: links out of the peon's volumes are not followed.
#[test]
fn the_peon_cannot_make_it_read_anything_else() {
    let mut pod = Pod::new("links", &json!({}));
    let secret = pod.root.join("sources/01/druid.indexer.logs.directory");
    std::os::unix::fs::symlink(&secret, pod.root.join("scratch/task/attempt/1/report.json")).unwrap();
    pod.log().write_all(b"a log").unwrap();
    pod.start();
    until("a part", || (pod.kept() == 5).then_some(()));
    let verdict = pod.terminate();
    assert!(verdict.archived && !verdict.report, "{verdict:?}");
    assert!(verdict.message.contains("report.json"), "{verdict:?}");
    assert_eq!(pod.stored(".report.json"), None);
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o400, 0o400);
}
