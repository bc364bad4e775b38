//! The Kubernetes programs, built from the Go module in `e2e/binaries`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::testbed::{
    cache::{self, Cache},
    exec,
    progress::Progress,
};

/// The version that go.mod requires; it is stamped into the programs, or clients would see v0.0.0.
pub(super) const VERSION: &str = "v1.36.3";

const GO_MOD: &str = include_str!("../../../binaries/go.mod");
const GO_SUM: &str = include_str!("../../../binaries/go.sum");
const FLAGS: &[&str] = &["-mod=readonly", "-trimpath"];

/// Program name and Go package. The first one of Kubernetes itself pays for the packages they share.
const PROGRAMS: &[(&str, &str)] = &[
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    (
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    ),
    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("helm", "helm.sh/helm/v3/cmd/helm"),
];

/// Where the programs of exactly this go.mod, go.sum and these flags are, or will be.
pub(super) fn folder(cache: &Cache) -> PathBuf {
    let (flags, stamp) = (FLAGS.join(" "), ldflags());
    let parts = [GO_MOD, GO_SUM, &flags, &stamp].map(str::as_bytes);
    cache.path(&format!("kubernetes-{VERSION}-{}", cache::content_hash(parts)))
}

/// Builds what is missing, one program after the other, each kept as soon as it is whole.
pub(super) fn build_missing(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let finished = folder(cache);
    if finished.is_dir() {
        progress.say(format_args!("Kubernetes {VERSION} … all there"));
        return Ok(finished);
    }
    check_go()?;
    // Programs that an earlier, interrupted run finished stay in this folder and are not built again.
    let unfinished = finished.with_extension("unfinished");
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
    let module = unfinished.join("module");
    cache::write(&module.join("go.mod"), GO_MOD)?;
    cache::write(&module.join("go.sum"), GO_SUM)?;
    progress.say(format_args!(
        "building Kubernetes {VERSION} from source: up to a quarter of an hour the first time"
    ));
    for (done, (name, package)) in PROGRAMS.iter().enumerate() {
        let target = unfinished.join(name);
        if target.is_file() {
            continue;
        }
        let step = progress.slow_step(
            *name,
            format_args!("building, {} of {}", done + 1, PROGRAMS.len()),
        );
        build(&module, package, &target, &cache.path("go-build.log"))?;
        step.done("built");
    }
    cache::remove(&module)?;
    fs::rename(&unfinished, &finished).context("cannot move the Kubernetes programs into place")?;
    Ok(finished)
}

fn build(module: &Path, package: &str, target: &Path, log: &Path) -> Result<()> {
    let partial = target.with_extension("partial");
    let mut go = Command::new("go");
    go.current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "");
    go.arg("build")
        .args(FLAGS)
        .arg(format!("-ldflags={}", ldflags()))
        .arg("-o")
        .arg(&partial)
        .arg(package);
    exec::logged(&mut go, log).with_context(|| format!("cannot build {package}"))?;
    fs::rename(&partial, target).with_context(|| format!("cannot move {} into place", target.display()))
}

fn ldflags() -> String {
    let mut numbers = VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let stamp = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
        .map(|p| format!("-X {p}.gitVersion={VERSION} -X {p}.gitMajor={major} -X {p}.gitMinor={minor}"));
    format!("-s -w {}", stamp.join(" "))
}

fn check_go() -> Result<()> {
    const HELP: &str = "install Go 1.24 or newer and put `go` on the PATH; with 1.24 or 1.25, leave GOTOOLCHAIN at \
                        `auto` so that it fetches the release that e2e/binaries/go.mod names";
    if !exec::on_path("go") {
        bail!("Go is missing: {HELP}");
    }
    let version = exec::output(Command::new("go").args(["env", "GOVERSION"]))?;
    let minor = version
        .trim()
        .strip_prefix("go1.")
        .and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 24) {
        bail!("this Go is {}: {HELP}", version.trim());
    }
    Ok(())
}
