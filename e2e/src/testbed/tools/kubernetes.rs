//! The Kubernetes programs, built from the Go modules in `e2e/binaries`, one for each minor.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::testbed::{
    cache::{self, Cache},
    exec,
    lock::{Busy, Lock},
    progress::Progress,
};

/// Selects the version of the test cluster: one of [`RELEASES`], whole or by its minor.
const VARIABLE: &str = "KUBERNETES";

/// A version of Kubernetes, and the Go module that requires it.
#[derive(Debug)]
pub(super) struct Release {
    /// It is stamped into the programs, or clients would see v0.0.0.
    version: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
}

/// The minors that are supported, oldest first.
const RELEASES: [Release; 3] = [
    Release {
        version: "v1.35.4",
        go_mod: include_str!("../../../binaries/1.35/go.mod"),
        go_sum: include_str!("../../../binaries/1.35/go.sum"),
    },
    Release {
        version: DEFAULT,
        go_mod: include_str!("../../../binaries/1.36/go.mod"),
        go_sum: include_str!("../../../binaries/1.36/go.sum"),
    },
    Release {
        version: "v1.37.2",
        go_mod: include_str!("../../../binaries/1.37/go.mod"),
        go_sum: include_str!("../../../binaries/1.37/go.sum"),
    },
];
/// The version where none is named.
const DEFAULT: &str = "v1.36.3";

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

/// The release that the environment names, else the default.
///
/// # Errors
/// When the environment names one that is not in the list.
pub(super) fn release() -> Result<&'static Release> {
    let named = env::var(VARIABLE).unwrap_or_default();
    find(&named).with_context(|| {
        let known = RELEASES.each_ref().map(|release| release.version).join(", ");
        format!("{VARIABLE} is {named:?}: name one of {known}, or its minor")
    })
}

/// The release of this version (`v1.37.2`, `1.37.2`) or minor (`v1.37`, `1.37`); the default for no name.
fn find(named: &str) -> Option<&'static Release> {
    let wanted = if named.is_empty() {
        DEFAULT
    } else {
        named.trim_start_matches('v')
    };
    let is_it = |release: &&Release| {
        let version = release.version.trim_start_matches('v');
        release.version == wanted
            || version == wanted
            || version.rsplit_once('.').is_some_and(|(minor, _)| minor == wanted)
    };
    RELEASES.iter().find(is_it)
}

/// The oldest and the newest version.
pub(super) fn outermost() -> [&'static str; 2] {
    [RELEASES[0].version, RELEASES[RELEASES.len() - 1].version]
}

/// Where the programs of exactly this go.mod, go.sum and these flags are, or will be.
pub(super) fn folder(cache: &Cache, release: &Release) -> PathBuf {
    let (flags, stamp) = (FLAGS.join(" "), ldflags(release.version));
    let parts = [release.go_mod, release.go_sum, &flags, &stamp].map(str::as_bytes);
    let hash = cache::content_hash(parts);
    cache.path(&format!("kubernetes-{}-{hash}", release.version))
}

/// Builds what is missing, one program after the other, each kept as soon as it is whole.
pub(super) fn build_missing(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let release = release()?;
    let version = release.version;
    let finished = folder(cache, release);
    if finished.is_dir() {
        progress.say(format_args!("Kubernetes {version} … all there"));
        return Ok(finished);
    }
    // A quarter of an hour: whoever needs another version goes on meanwhile.
    let path = cache.path(&format!("kubernetes-{version}.lock"));
    let _lock = Lock::take(&path, "the Kubernetes programs", Busy::Wait, progress)?;
    if finished.is_dir() {
        return Ok(finished);
    }
    check_go()?;
    // Programs that an earlier, interrupted run finished stay in this folder and are not built again.
    let unfinished = unfinished(&finished);
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
    let module = unfinished.join("module");
    cache::write(&module.join("go.mod"), release.go_mod)?;
    cache::write(&module.join("go.sum"), release.go_sum)?;
    progress.say(format_args!(
        "building Kubernetes {version} from source: up to a quarter of an hour the first time"
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
        build(&module, version, package, &target, &cache.path("go-build.log"))?;
        step.done("built");
    }
    cache::remove(&module)?;
    fs::rename(&unfinished, &finished).context("cannot move the Kubernetes programs into place")?;
    Ok(finished)
}

/// Where the programs of that folder are until all of them are built. Its name is the whole of the other's, as what was built
/// for another release of the same minor must not count.
fn unfinished(finished: &Path) -> PathBuf {
    let mut name = finished.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    finished.with_file_name(name)
}

fn build(module: &Path, version: &str, package: &str, target: &Path, log: &Path) -> Result<()> {
    let partial = target.with_extension("partial");
    let mut go = Command::new("go");
    go.current_dir(module)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "");
    go.arg("build")
        .args(FLAGS)
        .arg(format!("-ldflags={}", ldflags(version)))
        .arg("-o")
        .arg(&partial)
        .arg(package);
    exec::logged(&mut go, log).with_context(|| format!("cannot build {package}"))?;
    fs::rename(&partial, target).with_context(|| format!("cannot move {} into place", target.display()))
}

fn ldflags(version: &str) -> String {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let stamp = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
        .map(|p| format!("-X {p}.gitVersion={version} -X {p}.gitMajor={major} -X {p}.gitMinor={minor}"));
    format!("-s -w {}", stamp.join(" "))
}

fn check_go() -> Result<()> {
    const HELP: &str = "install Go 1.24 or newer and put `go` on the PATH; with 1.24 or 1.25, leave GOTOOLCHAIN at \
                        `auto` so that it fetches the release that the go.mod in e2e/binaries names";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_version_or_minor() {
        let version = |named: &str| find(named).map(|release| release.version);
        assert_eq!(version(""), Some(DEFAULT));
        let [oldest, newest] = outermost();
        for named in [newest, newest.trim_start_matches('v'), "v1.37", "1.37"] {
            assert_eq!(version(named), Some(newest), "{named}");
        }
        assert_eq!(version("1.35"), Some(oldest));
        for unknown in ["1.3", "1.34", "latest", "v"] {
            assert_eq!(version(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn programs_of_two_releases_of_a_minor_are_built_apart() {
        let of = |name: &str| unfinished(&Path::new("cache").join(name));
        assert_eq!(
            of("kubernetes-v1.37.2-0a"),
            Path::new("cache/kubernetes-v1.37.2-0a.unfinished")
        );
        assert_ne!(of("kubernetes-v1.37.2-0a"), of("kubernetes-v1.37.3-0a"));
    }

    #[test]
    fn each_module_requires_its_version() {
        for release in &RELEASES {
            let required = format!("k8s.io/kubernetes {} //", release.version);
            assert!(release.go_mod.contains(&required), "{required}");
        }
    }
}
