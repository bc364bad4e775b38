//! The ways in which a task ends while nothing else is wrong, and what its archived log must have.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::written::{Written, differs_by_what_is_declared, is_same, without_report};
use super::{until_archived, with_sidecar};
use crate::{
    cases::{Case, Turn, case},
    testbed::{
        fixture::{Fixture, LIMIT, NAMESPACE},
        wait::wait_until,
    },
};

/// One of them.
pub(super) struct Exit {
    /// Its name, fit for names of objects.
    pub(super) name: &'static str,
    /// Whether the way to the log may be gone before its end was read.
    may_miss_its_end: bool,
    /// Whether the kubelet removes the container by itself as soon as it has ended. A reader of the kubelet that looks at
    /// the container only after that stops with an error and without the last lines.
    is_removed: bool,
    /// Whether it is tried in every store each time, and not only where all pairs are.
    pub(super) in_every_store: bool,
    /// Has a task end this way; returns what its container wrote.
    pub(super) run: fn(&Scene<'_>) -> Result<Written>,
}

const fn exit(name: &'static str, run: fn(&Scene<'_>) -> Result<Written>) -> Exit {
    Exit {
        name,
        may_miss_its_end: false,
        is_removed: false,
        in_every_store: false,
        run,
    }
}

/// An end at which the pod is deleted or evicted.
const fn removed(name: &'static str, run: fn(&Scene<'_>) -> Result<Written>) -> Exit {
    Exit {
        is_removed: true,
        ..exit(name, run)
    }
}

/// What the archive says of a kubelet that did not find the container any more.
const NOT_FOUND: &str = "[peon-operator] the kubelet says: ";

/// All of them.
pub(super) static EXITS: [Exit; 8] = [
    Exit {
        in_every_store: true,
        ..exit("success", success)
    },
    exit("out-of-memory", out_of_memory),
    removed("cancel", cancelled),
    removed("deadline", deadline),
    removed("eviction", evicted),
    removed("drain", drained),
    removed("deletion", deleted),
    Exit {
        may_miss_its_end: true,
        ..exit("forced-deletion", forced)
    },
];

impl Exit {
    /// Whether the log is what was written, as far as it can be.
    pub(super) fn check(&self, reason: &str, log: &[u8], written: &[u8]) -> Result<()> {
        let written = without_report(written);
        let was_removed =
            self.is_removed && reason == "Gap" && memchr::memmem::find(log, NOT_FOUND.as_bytes()).is_some();
        if !self.may_miss_its_end && !was_removed {
            ensure!(reason == "Archived", "{reason}: {}", String::from_utf8_lossy(log));
            return is_same(log, written);
        }
        let (gaps, kept) = differs_by_what_is_declared(log, written)?;
        ensure!((gaps > 0) == (reason == "Gap"), "{reason} and {gaps} gaps");
        ensure!(kept > 1000, "{kept} bytes were kept");
        Ok(())
    }
}

fn of_follower(fixture: &Fixture, name: &'static str) -> Result<()> {
    let (exit, tried) = try_end(fixture, name, false)?;
    exit.check(&tried.reason, &tried.log, &tried.written)
}

/// It needs nobody to have its log to the end, though nobody can say so where its pod is gone.
fn of_sidecar(fixture: &Fixture, name: &'static str) -> Result<()> {
    let (_, tried) = try_end(fixture, name, true)?;
    let (_, kept) = differs_by_what_is_declared(&tried.log, &tried.written)?;
    let all = tried.written.len();
    ensure!(kept == all, "{kept} of {all} bytes were kept");
    Ok(())
}

/// What came of an end.
struct Tried {
    /// What the status says of the log.
    reason: String,
    log: Vec<u8>,
    written: Vec<u8>,
}

/// Has a task beside the overlord end this way.
fn try_end(fixture: &Fixture, name: &'static str, sidecar: bool) -> Result<(&'static Exit, Tried)> {
    let exit = EXITS.iter().find(|e| e.name == name).context("no such end")?;
    let name = format!("{}-{name}", if sidecar { "sidecar" } else { "log-of" });
    let scene = Scene {
        fixture,
        namespace: NAMESPACE,
        name: &name,
        sidecar,
    };
    let written = (exit.run)(&scene)?;
    let tried = Tried {
        reason: scene.until_archived()?,
        log: scene.log()?,
        written: written.bytes()?,
    };
    Ok((exit, tried))
}

pub(super) const CASES: [Case; 12] = [
    case("logs::of_a_cancelled_task_are_archived", |f| {
        of_follower(f, "cancel")
    })
    .own(),
    case("logs::of_a_task_past_its_deadline_are_archived", |f| {
        of_follower(f, "deadline")
    })
    .own(),
    case("logs::of_an_evicted_task_are_archived", |f| {
        of_follower(f, "eviction")
    })
    .own(),
    case("logs::of_a_drained_task_are_archived", |f| {
        of_follower(f, "drain")
    })
    .own(),
    case("logs::of_a_deleted_pod_are_archived", |f| {
        of_follower(f, "deletion")
    })
    .own(),
    case("logs::of_a_pod_deleted_by_force_are_archived", |f| {
        of_follower(f, "forced-deletion")
    })
    .turn(Turn::Waiting)
    .own(),
    case("logs::a_sidecar_archives_a_cancelled_task", |f| {
        of_sidecar(f, "cancel")
    })
    .own(),
    case("logs::a_sidecar_archives_a_task_past_its_deadline", |f| {
        of_sidecar(f, "deadline")
    })
    .own()
    .full(),
    case("logs::a_sidecar_archives_an_evicted_task", |f| {
        of_sidecar(f, "eviction")
    })
    .own(),
    case("logs::a_sidecar_archives_a_drained_task", |f| {
        of_sidecar(f, "drain")
    })
    .own()
    .full(),
    case("logs::a_sidecar_archives_a_deleted_pod", |f| {
        of_sidecar(f, "deletion")
    })
    .own()
    .full(),
    case("logs::a_sidecar_loses_nothing_of_a_pod_deleted_by_force", |f| {
        of_sidecar(f, "forced-deletion")
    })
    .turn(Turn::Waiting)
    .own(),
];

/// A task of which one end is tried.
pub(super) struct Scene<'a> {
    /// The cluster.
    pub(super) fixture: &'a Fixture,
    /// Where the task is; elsewhere than in [`NAMESPACE`] there is no deep storage.
    pub(super) namespace: &'a str,
    /// Its name and id.
    pub(super) name: &'a str,
    /// Whether a sidecar reads its log.
    pub(super) sidecar: bool,
}

impl Scene<'_> {
    /// A template of the task's name, changed.
    pub(super) fn template(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut template = self.fixture.sample_for(self.namespace)?;
        template["metadata"]["name"] = json!(self.name);
        template["spec"]["retry"] = json!({"rerun": "Never"});
        if self.sidecar {
            with_sidecar(&mut template["spec"]);
        }
        change(&mut template["spec"]);
        self.fixture.apply(self.namespace, &template)
    }

    /// A noop of the template of its name that runs for so many seconds; returns its log once it has written some.
    pub(super) fn noop(&self, seconds: u32) -> Result<Written> {
        self.apply_noop(seconds)?;
        self.fixture.until_running(self.namespace, self.name)?;
        let written = Written::hold(self.fixture, self.namespace, &self.pod())?;
        wait_until(LIMIT, "the peon to write its log", || {
            Ok((written.bytes()?.len() > 5000).then_some(()))
        })?;
        Ok(written)
    }

    pub(super) fn apply_noop(&self, seconds: u32) -> Result<()> {
        let spec = json!({
            "task": {"type": "noop", "id": self.name, "runTime": seconds * 1000},
            "templateRef": {"name": self.name},
        });
        self.fixture.task(self.namespace, self.name, &spec)
    }

    /// As [`Self::noop`] with the plain template, for ten minutes.
    fn long_noop(&self) -> Result<Written> {
        self.template(|_| {})?;
        self.noop(600)
    }

    /// The pod of its first attempt.
    pub(super) fn pod(&self) -> String {
        format!("{}-1", self.name)
    }

    pub(super) fn delete(&self, more: &[&str]) -> Result<()> {
        let pod = self.pod();
        let mut args = vec!["pod", pod.as_str(), "--namespace", self.namespace];
        args.extend(more);
        self.fixture.kubectl.delete(&args)
    }

    pub(super) fn until_reason(&self, reason: &str) -> Result<()> {
        self.fixture
            .until_reason(self.namespace, self.name, reason)
            .map(drop)
    }

    /// Waits until all that can be had of its log is archived; returns what is said of it.
    pub(super) fn until_archived(&self) -> Result<String> {
        until_archived(self.fixture, self.namespace, self.name).map(|(_, reason)| reason)
    }

    /// Its log where the overlord reads it.
    pub(super) fn log(&self) -> Result<Vec<u8>> {
        let log = self.fixture.archived(&format!("{}.log", self.name))?;
        log.context("no log")
    }
}

fn success(scene: &Scene<'_>) -> Result<Written> {
    scene.template(|_| {})?;
    let written = scene.noop(5)?;
    scene.until_reason("Succeeded")?;
    Ok(written)
}

/// Its heap is more than its container may have.
fn out_of_memory(scene: &Scene<'_>) -> Result<Written> {
    scene.template(|spec| {
        spec["javaOpts"] = json!(["-Xms900m", "-Xmx900m", "-XX:+AlwaysPreTouch"]);
        spec["sizing"] = json!({"enforce": false});
        spec["retry"] = json!({"limits": {"OOMKilled": 0}});
    })?;
    scene.apply_noop(600)?;
    scene.until_reason("OOMKilled")?;
    Written::hold(scene.fixture, scene.namespace, &scene.pod())
}

fn cancelled(scene: &Scene<'_>) -> Result<Written> {
    let written = scene.long_noop()?;
    let cancel = json!({"cancel": true});
    scene.fixture.change(scene.namespace, scene.name, &cancel)?;
    scene.until_reason("Cancelled")?;
    Ok(written)
}

fn deadline(scene: &Scene<'_>) -> Result<Written> {
    let written = scene.long_noop()?;
    let deadline = json!({"activeDeadlineSeconds": 1});
    scene.fixture.change(scene.namespace, scene.name, &deadline)?;
    scene.until_reason("Deadline")?;
    Ok(written)
}

/// Another container fills a volume that is bounded: the kubelet ends the pod.
fn evicted(scene: &Scene<'_>) -> Result<Written> {
    let image = scene.fixture.druid_image.clone();
    scene.template(|spec| fill_a_volume(spec, &image, "until [ -e /small/now ]; do sleep 1; done; "))?;
    let written = scene.noop(600)?;
    let exec = [
        "exec",
        &scene.pod(),
        "--namespace",
        scene.namespace,
        "--container",
        "filler",
        "--",
    ];
    let touch = ["touch", "/small/now"];
    scene.fixture.kubectl.run(&[&exec[..], &touch].concat())?;
    scene.until_reason("Evicted")?;
    Ok(written)
}

/// A container beside the peon that writes more than a volume may have, after `first`.
pub(in crate::cases) fn fill_a_volume(spec: &mut Value, image: &str, first: &str) {
    let pod = &mut spec["template"]["spec"];
    let small = json!({"name": "small", "emptyDir": {"sizeLimit": "1Mi"}});
    match pod["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(small),
        None => pod["volumes"] = json!([small]),
    }
    let script = format!("{first}head -c 20000000 /dev/zero > /small/x; sleep 100000");
    let filler = json!({
        "name": "filler", "image": image, "command": ["/bin/sh", "-c", script],
        "volumeMounts": [{"name": "small", "mountPath": "/small"}],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "resources": {"limits": {"memory": "64Mi", "cpu": "50m"}},
    });
    if let Some(containers) = pod["containers"].as_array_mut() {
        containers.push(filler);
    }
}

fn drained(scene: &Scene<'_>) -> Result<Written> {
    let written = scene.long_noop()?;
    scene.fixture.evict(scene.namespace, &scene.pod())?;
    scene.until_reason("Drained")?;
    Ok(written)
}

fn deleted(scene: &Scene<'_>) -> Result<Written> {
    let written = scene.long_noop()?;
    scene.delete(&[])?;
    scene.until_reason("PodDeleted")?;
    Ok(written)
}

/// The API server forgets the pod at once, and with it the way to its log.
fn forced(scene: &Scene<'_>) -> Result<Written> {
    let written = scene.long_noop()?;
    scene.delete(&["--force", "--grace-period=0"])?;
    scene
        .fixture
        .until(scene.namespace, scene.name, |s| s["phase"] == "Failed")?;
    Ok(written)
}
