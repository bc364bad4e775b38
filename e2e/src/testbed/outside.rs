//! An operator process on this machine, outside the cluster, with the rights that the chart gives it.

use std::{
    env,
    fs::{self, File},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::testbed::{
    exec,
    fixture::{Fixture, LIMIT, OPERATOR_NAMESPACE, RELEASE},
    gate::Gate,
    interrupt::Helper,
    kubectl::Kubectl,
    ports,
    wait::wait_until,
};

/// Seconds of the lease, the fewest that the operator takes.
const LEASE_SECONDS: &str = "5";

/// A namespace with the chart's rights in it, and the gate to the API server.
#[derive(Debug)]
pub struct Grounds {
    /// The namespace.
    pub namespace: String,
    /// The gate.
    pub gate: Gate,
    folder: PathBuf,
    image: String,
    _release: Stopped,
}

impl Grounds {
    /// Prepares a namespace: the chart is installed for it alone, and its own pods are sent away.
    ///
    /// # Errors
    /// When any of it fails.
    pub fn prepare(fixture: &Fixture, name: &str) -> Result<Self> {
        Self::within(fixture, fixture.namespace(name)?)
    }

    /// As [`Self::prepare`], in a namespace that exists.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn within(fixture: &Fixture, namespace: String) -> Result<Self> {
        let own = fixture.target.own().context("no cluster of our own")?;
        let values = [
            "scope=namespace",
            "crds.install=false",
            "rbac.aggregate=false",
            "serviceAccount.name=operator",
            "fullnameOverride=operator",
            "leaderElection.leaseName=operator",
            "replicas=1",
        ];
        fixture
            .helm
            .install("operator", &namespace, &fixture.operator_image, &values)?;
        stop_release(&fixture.kubectl, "operator", &namespace)?;
        // The release that all other cases use watches every namespace, this one too.
        let release = Stopped::stop(&fixture.kubectl)?;
        let token = [
            "create",
            "token",
            "operator",
            "--duration=2h",
            "--namespace",
            &namespace,
        ];
        let token = fixture.kubectl.run(&token)?;
        let folder = own.scratch(&namespace)?;
        let kubeconfig = folder.join("service-account");
        write_kubeconfig(&own.kubeconfig(), token.trim(), &kubeconfig)?;
        let gate = Gate::open(&Kubectl::new(own.bin_dir().join("kubectl"), kubeconfig))?;
        Ok(Self {
            namespace,
            gate,
            folder,
            image: fixture.operator_image.clone(),
            _release: release,
        })
    }

    /// Starts an operator.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> Result<Outside> {
        self.start_with(&[])
    }

    /// Starts an operator that archives logs as these properties say.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_archiving(&self, properties: &str) -> Result<Outside> {
        let file = self.folder.join("log.properties");
        fs::write(&file, properties.replace('\\', "\\\\"))?;
        let file = file.display().to_string();
        self.start_with(&["--log-properties", &file, "--log-flush-seconds", "1"])
    }

    /// Starts an operator that manages VirtualMiddleManagers and pools of Indexers, too.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_pools(&self) -> Result<Outside> {
        let role = "Role/operator-middle-manager";
        self.start_with(&["--image", &self.image, "--middle-manager-role", role])
    }

    fn start_with(&self, more: &[&str]) -> Result<Outside> {
        let kubeconfig = self.folder.join("gate");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "gate",
            "clusters": [{"name": "gate", "cluster": {"server": self.gate.url()}}],
            "users": [{"name": "gate", "user": {}}],
            "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "gate", "namespace": self.namespace}}],
        });
        fs::write(&kubeconfig, config.to_string()).context("cannot write a kubeconfig")?;
        let program = env::current_exe()?.with_file_name("peon-operator");
        let listen = ports::free()?;
        let log = self.folder.join(format!("operator-{}.log", listen.port()));
        let mut command = Command::new(&program);
        command
            .env("KUBECONFIG", kubeconfig)
            // Only the error is of interest.
            .env("RUST_BACKTRACE", "0")
            .args([
                "--namespace",
                &self.namespace,
                "--lease-namespace",
                &self.namespace,
            ])
            .args(["--lease-name", "operator", "--lease-seconds", LEASE_SECONDS])
            .args(more)
            .args(["--listen", &listen.to_string()])
            // Whatever is free: several of them share this machine's loopback.
            .args(["--archive-listen", "127.0.0.1:0"])
            .args(["--log", "info,kube_runtime=warn,peon_operator=debug"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let group = Helper::group(child.id());
        Ok(Outside {
            child,
            log,
            _group: group,
        })
    }
}

/// How many want the release to have no pods of its own.
static STOPPED: Mutex<usize> = Mutex::new(0);

/// The release that all other cases use, for as long as it has no pods of its own.
#[derive(Debug)]
struct Stopped {
    kubectl: Kubectl,
}

impl Stopped {
    /// Sends its pods away, unless that was done for somebody else.
    fn stop(kubectl: &Kubectl) -> Result<Self> {
        let mut stopped = STOPPED.lock().unwrap_or_else(PoisonError::into_inner);
        *stopped += 1;
        let this = Self {
            kubectl: kubectl.clone(),
        };
        let sent = (*stopped == 1).then(|| stop_release(kubectl, RELEASE, OPERATOR_NAMESPACE));
        drop(stopped);
        sent.transpose().map(|_| this)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let mut stopped = STOPPED.lock().unwrap_or_else(PoisonError::into_inner);
        *stopped -= 1;
        if *stopped > 0 {
            return;
        }
        let started = scale(&self.kubectl, RELEASE, OPERATOR_NAMESPACE, 1).and_then(|()| {
            let deployment = ["deployment", RELEASE, "--namespace", OPERATOR_NAMESPACE];
            self.kubectl
                .wait_for(&deployment, LIMIT, |d| d["status"]["readyReplicas"] == 1)
        });
        if let Err(error) = started {
            eprintln!("the release was not started again: {error:#}");
        }
    }
}

/// Sends a release's own pods away.
fn stop_release(kubectl: &Kubectl, deployment: &str, namespace: &str) -> Result<()> {
    scale(kubectl, deployment, namespace, 0)?;
    let pods = [
        "pod",
        "--selector=app.kubernetes.io/name=peon-operator",
        "--namespace",
        namespace,
    ];
    kubectl
        .wait_for(&pods, LIMIT, |p| p["items"] == json!([]))
        .map(drop)
}

fn scale(kubectl: &Kubectl, deployment: &str, namespace: &str, replicas: u32) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    let scale = [
        "scale",
        "deployment",
        deployment,
        &replicas,
        "--namespace",
        namespace,
    ];
    kubectl.run(&scale).map(drop)
}

/// The administrator's kubeconfig with another user: the service account.
pub(crate) fn write_kubeconfig(admin: &Path, token: &str, to: &Path) -> Result<()> {
    let text = fs::read_to_string(admin).context("cannot read the kubeconfig")?;
    let mut config: serde_json::Value = serde_yaml::from_str(&text).context("the kubeconfig is not YAML")?;
    config["users"][0]["user"] = json!({ "token": token });
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)?;
    std::io::Write::write_all(&mut file, config.to_string().as_bytes())?;
    Ok(())
}

/// An operator that runs outside; it is killed when this value goes away.
#[derive(Debug)]
pub struct Outside {
    child: Child,
    log: PathBuf,
    _group: Helper,
}

impl Outside {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// When nobody can say.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for its end; gives its exit code, `None` after a signal.
    ///
    /// # Errors
    /// After `limit`, with the end of its log.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<i32>> {
        let ended = wait_until(limit, "the operator to end", || Ok(self.child.try_wait()?));
        Ok(ended.with_context(|| self.tail())?.code())
    }

    /// Waits until its log has this.
    ///
    /// # Errors
    /// After `limit`, with the end of its log.
    pub fn until_log(&self, text: &str, limit: Duration) -> Result<()> {
        let found = wait_until(limit, text, || {
            Ok(fs::read_to_string(&self.log)?.contains(text).then_some(()))
        });
        found.with_context(|| self.tail())
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        exec::tail(&self.log, 30)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
