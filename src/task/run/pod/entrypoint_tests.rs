//! The real script in the shells that there are, with something else in Java's place.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::logs::format::report::{MAX_REPORT, split};
use crate::logs::format::sidecar_config::{LOG_FILE, SHOWN_FILE};

const PREPARE: &str =
    "set -eu\nmkdir -p /peon/task/attempt/1\nln -sf /dev/termination-log /peon/task/attempt/1/status.json\n";

const HOST: &str = "peon_host=\"$PEON_POD_IP\"\n";

/// A made-up container: folders below one of its own, and the shell that runs the script.
struct Container {
    root: PathBuf,
    shell: Vec<String>,
}

struct Ended {
    code: Option<i32>,
    stdout: Vec<u8>,
    message: Vec<u8>,
}

/// `sh` of this machine, and that of busybox where there is one, as in Druid's image.
fn shells() -> Vec<Vec<String>> {
    let mut shells = vec![vec!["/bin/sh".to_owned()]];
    let path = std::env::var("PATH").unwrap_or_default();
    for busybox in std::env::split_paths(&path)
        .map(|dir| dir.join("busybox"))
        .filter(|b| b.is_file())
        .take(1)
    {
        shells.push(vec![busybox.display().to_string(), "sh".to_owned()]);
    }
    shells
}

/// Runs `test` in every shell, with `java` doing this.
fn in_every_shell(name: &str, java: &str, test: impl Fn(&Container)) {
    for (number, shell) in shells().into_iter().enumerate() {
        let root = std::env::temp_dir().join(format!("peon-launch-{}-{name}-{number}", std::process::id()));
        for dir in ["peon/task/attempt/1", "dev", "etc/peon", "bin", "peon-log"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let file = root.join("bin/java");
        fs::write(&file, format!("#!/bin/sh\ncd {}\n{java}", root.display())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let container = Container { root, shell };
        if number > 0 {
            let busybox = Path::new(&container.shell[0]);
            let installed = Command::new(busybox)
                .args(["--install", "-s"])
                .arg(container.root.join("bin"))
                .status();
            assert!(installed.unwrap().success());
        }
        test(&container);
        fs::remove_dir_all(&container.root).unwrap();
    }
}

impl Container {
    fn start(&self, output: Output) -> Child {
        let root = self.root.display();
        let mut script = script(output, &[PREPARE, HOST]);
        for (dir, before) in [
            ("/peon/", " ="),
            ("/peon-log/", " ><"),
            ("/etc/peon/", " @"),
            ("/dev/termination-log", " "),
        ] {
            for before in before.chars() {
                script = script.replace(&format!("{before}{dir}"), &format!("{before}{root}{dir}"));
            }
        }
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new(&self.shell[0])
            .args(&self.shell[1..])
            .args(["-c", &script])
            .env("PATH", format!("{root}/bin:{path}"))
            .env("PEON_POD_IP", "10.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap()
    }

    fn end(&self, mut child: Child) -> Ended {
        let mut stdout = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        let code = child.wait().unwrap().code();
        let message = fs::read(self.root.join("dev/termination-log")).unwrap_or_default();
        Ended {
            code,
            stdout,
            message,
        }
    }

    fn run(&self, output: Output) -> Ended {
        self.end(self.start(output))
    }

    fn until_there(&self, name: &str) -> String {
        until(|| {
            fs::read_to_string(self.root.join(name))
                .ok()
                .filter(|text| text.ends_with('\n'))
        })
    }

    fn shared(&self, name: &str) -> Vec<u8> {
        fs::read(self.root.join("peon-log").join(name)).unwrap()
    }
}

fn until<T>(mut there: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(signal: &str, process: &str) {
    let sent = Command::new("kill").args([signal, process.trim()]).status();
    assert!(sent.unwrap().success());
}

const KEPT: [Output; 2] = [Output::Follower, Output::Sidecar];

#[test]
fn the_exit_code_is_javas_and_the_log_is_all_it_wrote() {
    for code in [0, 1, 3, 127, 143] {
        let java = format!(
            "echo \"$@\"; echo error >&2; printf 'no line break'; echo status >peon/task/attempt/1/status.json; exit {code}"
        );
        in_every_shell(&format!("code-{code}"), &java, |container| {
            for output in KEPT {
                let ended = container.run(output);
                assert_eq!(ended.code, Some(code), "{output:?} in {:?}", container.shell);
                let arguments = container.root.join("etc/peon/jvm.args");
                let expected = format!(
                    "-Ddruid.host=10.0.0.1 @{}\nerror\nno line break",
                    arguments.display()
                );
                assert_eq!(String::from_utf8_lossy(&ended.stdout), expected);
                assert_eq!(ended.message, b"status\n");
            }
            assert!(
                String::from_utf8(container.shared(LOG_FILE))
                    .unwrap()
                    .ends_with("error\nno line break")
            );
        });
    }
}

/// A signal to what was just started may be lost in the shell's own handler: nothing may wait for it for ever.
#[test]
fn what_ends_at_once_or_is_stopped_at_once_ends() {
    in_every_shell("soon", "echo log", |container| {
        for run in 0..20 {
            let ended = container.run(Output::Sidecar);
            assert_eq!(
                (ended.code, ended.stdout.ends_with(b"log\n")),
                (Some(0), true),
                "{run}"
            );
            fs::remove_file(container.root.join("peon-log").join(LOG_FILE)).unwrap();
        }
    });
    in_every_shell("at-once", "exec sleep 1000", |container| {
        for run in 0..20 {
            let child = container.start(KEPT[run % 2]);
            signal("-TERM", &child.id().to_string());
            // Before its trap is set the shell itself ends by the signal.
            let code = container.end(child).code;
            assert!(matches!(code, Some(143) | None), "{run}: {code:?}");
        }
    });
}

/// It takes its time to stop, as a peon does, and says so at its very end.
const STOPS: &str = "echo $$ >pid; trap 'asked=1' TERM; echo ready >ready\n\
    while [ -z \"${asked:-}\" ]; do sleep 1 & wait $! || :; done\n\
    n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); done\n\
    echo FAILED >peon/task/attempt/1/status.json; echo '{}' >peon/task/attempt/1/report.json; echo last; exit 143\n";

#[test]
fn a_signal_reaches_java_which_ends_in_its_own_time() {
    for told in ["-TERM", "-INT"] {
        in_every_shell(&format!("stop{told}"), STOPS, |container| {
            for output in KEPT {
                let _ = fs::remove_file(container.root.join("ready"));
                let child = container.start(output);
                container.until_there("ready");
                signal(told, &child.id().to_string());
                // Asking twice changes nothing.
                signal("-TERM", &child.id().to_string());
                let ended = container.end(child);
                assert_eq!(ended.code, Some(143), "{output:?} in {:?}", container.shell);
                assert_eq!(ended.message, b"FAILED\n");
                let found = split(&ended.stdout);
                assert_eq!(&ended.stdout[..found.log], b"last\n");
                assert_eq!(found.report.is_some(), output == Output::Follower);
            }
        });
    }
}

#[test]
fn java_killed_alone_is_exit_code_137_and_its_report_is_kept() {
    let java = "echo '{}' >peon/task/attempt/1/report.json; echo before; echo $$ >pid; while :; do sleep 1; done >/dev/null";
    in_every_shell("killed", java, |container| {
        for output in KEPT {
            let _ = fs::remove_file(container.root.join("pid"));
            let child = container.start(output);
            let pid = container.until_there("pid");
            signal("-KILL", &pid);
            let ended = container.end(child);
            assert_eq!(ended.code, Some(137), "{output:?} in {:?}", container.shell);
            let found = split(&ended.stdout);
            assert!(ended.stdout.starts_with(b"before\n"));
            assert_eq!(found.report.is_some(), output == Output::Follower);
        }
    });
}

#[test]
fn nothing_is_started_after_a_signal() {
    in_every_shell("early", "echo started", |container| {
        for output in KEPT {
            let signal_itself = "kill -TERM $$\n";
            let script = script(output, &[signal_itself]);
            let root = container.root.display().to_string();
            let script = script.replace("/peon-log/", &format!("{root}/peon-log/"));
            let path = std::env::var("PATH").unwrap_or_default();
            let ended = Command::new(&container.shell[0])
                .args(&container.shell[1..])
                .args(["-c", &script])
                .env("PATH", format!("{root}/bin:{path}"))
                .output()
                .unwrap();
            assert_eq!(
                (ended.status.code(), ended.stdout),
                (Some(143), Vec::new()),
                "{output:?}"
            );
        }
    });
}

#[test]
fn large_reports_are_printed_and_too_large_ones_named() {
    for (bytes, kept) in [
        (1, true),
        (100_000, true),
        (MAX_REPORT, true),
        (MAX_REPORT + 1, false),
        (0, false),
    ] {
        let java = format!("echo log; head -c {bytes} /dev/urandom >peon/task/attempt/1/report.json");
        in_every_shell(&format!("large-{bytes}"), &java, |container| {
            let ended = container.run(Output::Follower);
            assert_eq!(ended.code, Some(0));
            let found = split(&ended.stdout);
            let report = fs::read(container.root.join("peon/task/attempt/1/report.json")).unwrap();
            assert!(
                found.report == kept.then_some(report),
                "{bytes} in {:?}",
                container.shell
            );
            let log = String::from_utf8_lossy(&ended.stdout[..found.log]).into_owned();
            assert_eq!(
                log.contains(&format!("{bytes} bytes and is left out")),
                bytes > MAX_REPORT,
                "{log}"
            );
            assert!(log.starts_with("log\n") && log.len() < 200, "{log}");
        });
    }
}

/// What is shown keeps up while Java runs, and how far it is stands where the sidecar reads it.
#[test]
fn the_file_is_copied_while_java_runs() {
    let java = "echo one; until [ -e go ]; do sleep 1; done; head -c 3000000 /dev/urandom";
    in_every_shell("copy", java, |container| {
        let mut child = container.start(Output::Sidecar);
        let mut first = [0; 4];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        assert_eq!(&first, b"one\n");
        until(|| (container.until_there("peon-log/shown") == "4\n").then_some(()));
        fs::write(container.root.join("go"), "").unwrap();
        let ended = container.end(child);
        assert_eq!(ended.code, Some(0));
        let log = container.shared(LOG_FILE);
        assert_eq!(log.len(), 3_000_004);
        assert!([b"one\n".to_vec(), ended.stdout].concat() == log);
        assert_eq!(container.shared(SHOWN_FILE), b"3000004\n");
    });
}

/// A payload that is refused has said so in the log too.
#[test]
fn what_fails_before_java_is_in_the_log() {
    in_every_shell("prepare", "echo started", |container| {
        let root = container.root.display().to_string();
        let script = script(Output::Sidecar, &["set -eu\necho refused; exit 64\n"]);
        let script = script.replace("/peon-log/", &format!("{root}/peon-log/"));
        let ended = Command::new(&container.shell[0])
            .args(&container.shell[1..])
            .args(["-c", &script])
            .output()
            .unwrap();
        assert_eq!(
            (ended.status.code(), ended.stdout),
            (Some(64), b"refused\n".to_vec())
        );
        assert_eq!(container.shared(LOG_FILE), b"refused\n");
    });
}
