//! Druid's own client of workers, in a JVM of its own: `druid/hrtr` on the class path of the Druid that all tests use.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    cache::Cache, cluster::Cluster, exec, fixture::LIMIT, images, interrupt::Helper, progress::Progress,
    wait::wait_until,
};

const SOURCES: [(&str, &str); 5] = [
    (
        "Acknowledging.java",
        include_str!("../../../../druid/hrtr/Acknowledging.java"),
    ),
    (
        "Conformance.java",
        include_str!("../../../../druid/hrtr/Conformance.java"),
    ),
    (
        "Overlord.java",
        include_str!("../../../../druid/hrtr/Overlord.java"),
    ),
    ("Poller.java", include_str!("../../../../druid/hrtr/Poller.java")),
    ("Wire.java", include_str!("../../../../druid/hrtr/Wire.java")),
];
/// Before everything that is said on purpose.
const MARK: &str = "druid: ";

/// The client. It ends with this value.
pub(super) struct Client {
    child: Child,
    orders: ChildStdin,
    said: Arc<Mutex<Vec<Value>>>,
    log: PathBuf,
    _helper: Helper,
}

impl Client {
    /// Starts it: it looks for workers in this ZooKeeper and signs in with these credentials.
    pub(super) fn start(cluster: &Cluster, zookeeper: &str, user: &str, password: &str) -> Result<Self> {
        let class_path = images::druid_class_path(&Cache::open()?, &Progress::default())?;
        let folder = cluster.scratch("hrtr")?;
        let classes = folder.join("classes");
        let mut javac = Command::new("javac");
        javac.args(["-proc:none", "-cp", &class_path, "-d"]).arg(&classes);
        for (name, source) in SOURCES {
            let file = folder.join(name);
            fs::write(&file, source)?;
            javac.arg(file);
        }
        exec::output(&mut javac)?;
        let log = cluster.log_dir().join("hrtr.log");
        let mut rest = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut java = Command::new("java");
        let class_path = format!("{}:{class_path}", classes.display());
        java.args(["-XX:+UseSerialGC", "-Xmx512m", "-cp", &class_path, "Conformance"]);
        java.args([zookeeper, user, password]);
        java.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(rest.try_clone()?)
            .process_group(0);
        let mut child = java
            .spawn()
            .with_context(|| format!("cannot start `{}`", exec::line(&java)))?;
        let helper = Helper::group(child.id());
        let orders = child.stdin.take().context("no input")?;
        let output = child.stdout.take().context("no output")?;
        let said = Arc::<Mutex<Vec<Value>>>::default();
        let heard = said.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let on_purpose = line.strip_prefix(MARK).map(serde_json::from_str);
                match on_purpose {
                    Some(Ok(value)) => locked(&heard).push(value),
                    // What Druid itself says; it is for whoever looks for the reason of a failure.
                    _ => drop(writeln!(rest, "{line}")),
                }
            }
        });
        Ok(Self {
            child,
            orders,
            said,
            log,
            _helper: helper,
        })
    }

    /// Gives an order and waits for what comes of it.
    pub(super) fn order(&mut self, order: &Value) -> Result<Value> {
        let from = locked(&self.said).len();
        writeln!(self.orders, "{order}").with_context(|| exec::tail(&self.log, 15))?;
        self.until(&format!("{order} to be done"), |said| {
            let mut later = said.iter().skip(from);
            later.find_map(|s| {
                let failed = s["failed"] == order["do"];
                (failed || s["did"] == order["do"]).then(|| s.clone())
            })
        })
        .and_then(|mut answer| {
            ensure!(
                answer.get("failed").is_none(),
                "{answer}; {}",
                exec::tail(&self.log, 15)
            );
            Ok(answer["result"].take())
        })
    }

    /// Waits until what was said holds this.
    pub(super) fn until<T>(&mut self, what: &str, found: impl Fn(&[Value]) -> Option<T>) -> Result<T> {
        let (child, said, log) = (&mut self.child, &self.said, &self.log);
        let waited = wait_until(LIMIT, what, || {
            if let Some(status) = child.try_wait()? {
                bail!("Druid's client ended with {status}");
            }
            Ok(found(&locked(said)))
        });
        waited.with_context(|| exec::tail(log, 15))
    }

    /// Looks at what was said so far.
    pub(super) fn said<T>(&self, look: impl FnOnce(&[Value]) -> T) -> T {
        look(&locked(&self.said))
    }
}

fn locked(said: &Mutex<Vec<Value>>) -> MutexGuard<'_, Vec<Value>> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
