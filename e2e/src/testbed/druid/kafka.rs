//! A real Kafka broker in the cluster, and who writes to it.

use std::{
    fs::File,
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Child, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::testbed::{
    cache::Cache,
    druid::fill,
    exec,
    fixture::{Fixture, LIMIT, NAMESPACE},
    images::Image,
    interrupt::Helper,
    kubectl::Kubectl,
    object_stores::server::Folder,
    progress::Progress,
    wait::wait_until,
};

const SERVICE: &str = include_str!("../../../kafka/service.yaml");
const BROKER: &str = include_str!("../../../kafka/broker.yaml");
/// Where the broker has its partitions, a folder each.
const DATA: &str = "/opt/kafka/data/log";
/// How often rows are written.
const PACE: Duration = Duration::from_millis(100);
/// How many at a time.
const ROWS: u64 = 10;

/// A broker, for as long as the value lives. Topics have four partitions and come with their first record.
#[derive(Debug)]
pub struct Kafka {
    kubectl: Kubectl,
    address: String,
}

impl Kafka {
    /// Deploys it beside Druid, and waits until it serves.
    ///
    /// # Errors
    /// When the image cannot be built, or the broker does not start.
    pub fn deploy(fixture: &Fixture, cache: &Cache, progress: &Progress) -> Result<Self> {
        let image = fixture.target.image(Image::Kafka, cache, progress)?;
        let kubectl = fixture.kubectl.clone();
        let apply = |manifest: &str| {
            let args = ["apply", "--server-side", "--namespace", NAMESPACE, "-f", "-"];
            kubectl.run_with_input(&args, manifest)
        };
        apply(SERVICE)?;
        let service = kubectl.get_json(&["service", "kafka", "--namespace", NAMESPACE])?;
        let address = service["spec"]["clusterIP"]
            .as_str()
            .context("the Kafka service has no cluster IP")?;
        let kafka = Self {
            kubectl: kubectl.clone(),
            address: format!("{address}:9092"),
        };
        apply(&fill(
            BROKER,
            &[("{address}", &kafka.address), ("{image}", &image)],
        ))?;
        let deployment = ["deployment", "kafka", "--namespace", NAMESPACE];
        let ready = kubectl.wait_for(&deployment, LIMIT, |d| d["status"]["readyReplicas"] == 1);
        ready.with_context(|| {
            let log = ["--selector=app=kafka", "--tail=30", "--namespace", NAMESPACE];
            kubectl.logs(&log).unwrap_or_else(|error| format!("{error:#}"))
        })?;
        Ok(kafka)
    }

    /// `ADDRESS:PORT` for clients in pods.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.address
    }

    /// Waits for a topic: a supervisor that starts earlier finds no partitions, and looks again only later.
    ///
    /// # Errors
    /// After [`LIMIT`].
    pub fn until_topic(&self, topic: &str) -> Result<()> {
        let list = [
            "exec",
            "deployment/kafka",
            "--namespace",
            NAMESPACE,
            "--",
            "ls",
            DATA,
        ];
        wait_until(LIMIT, topic, || {
            let partitions = self.kubectl.run(&list)?;
            let partition = format!("{topic}-0");
            Ok(partitions.lines().any(|line| line == partition).then_some(()))
        })
    }

    /// Begins to write rows to a topic, a hundred a second, spread over its partitions: `{"ts": …, "n": N}`, of which
    /// all have the same time and each its own number, from 0.
    ///
    /// # Errors
    /// When Kafka's own producer cannot be started.
    pub fn write(&self, topic: &str) -> Result<Writer> {
        let folder = Folder::new()?;
        let log = folder.path().join("log");
        let said = File::create(&log)?;
        let mut producer = self.kubectl.command();
        producer
            .args([
                "exec",
                "--stdin",
                "deployment/kafka",
                "--namespace",
                NAMESPACE,
                "--",
            ])
            .args([
                "java",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp",
                "/opt/kafka/lib/*",
            ])
            .args(["kafka.tools.ConsoleProducer", "--bootstrap-server", &self.address])
            .args(["--topic", topic, "--property", "parse.key=true"])
            .args([
                "--producer-property",
                "enable.idempotence=true",
                "--request-required-acks=-1",
            ])
            .stdin(Stdio::piped())
            .stdout(said.try_clone()?)
            .stderr(said)
            .process_group(0);
        let mut child = producer
            .spawn()
            .with_context(|| format!("cannot start `{}`", exec::line(&producer)))?;
        let helper = Helper::group(child.id());
        let mut input = child.stdin.take().context("no input")?;
        let (stop, stopped) = mpsc::channel::<()>();
        let rows = thread::spawn(move || {
            let mut written = 0;
            while matches!(stopped.recv_timeout(PACE), Err(RecvTimeoutError::Timeout)) {
                let row = |n: u64| format!("{n}\t{{\"ts\":\"2024-01-01T00:00:00Z\",\"n\":{n}}}\n");
                let rows: String = (written..written + ROWS).map(row).collect();
                input.write_all(rows.as_bytes())?;
                written += ROWS;
            }
            Ok(written)
        });
        Ok(Writer {
            child,
            rows: Some(rows),
            stop: Some(stop),
            folder,
            _helper: helper,
        })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let gone = self
            .kubectl
            .delete(&["deployment,service,configmap", "kafka", "--namespace", NAMESPACE]);
        if let Err(error) = gone {
            eprintln!("the Kafka broker stays: {error:#}");
        }
    }
}

/// Who writes. It is killed with this value, unless it [ended](Self::end).
#[derive(Debug)]
pub struct Writer {
    child: Child,
    rows: Option<JoinHandle<std::io::Result<u64>>>,
    stop: Option<Sender<()>>,
    folder: Folder,
    _helper: Helper,
}

impl Writer {
    /// Writes no more, and waits until the broker has everything; returns how many rows that are.
    ///
    /// # Errors
    /// When the producer ended before, or says that something was lost.
    pub fn end(mut self) -> Result<u64> {
        drop(self.stop.take());
        let log = self.folder.path().join("log");
        let rows = self.rows.take().context("it has ended before")?;
        let Ok(rows) = rows.join() else {
            bail!("the thread that writes panicked");
        };
        let rows = rows.with_context(|| exec::tail(&log, 15))?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}; {}", exec::tail(&log, 15));
        Ok(rows)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
