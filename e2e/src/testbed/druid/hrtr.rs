//! Druid's own client of workers, in a JVM of its own: `druid/hrtr` on the class path of the Druid that all tests use, or of
//! a newer one.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::jvm::Jvm;
use crate::testbed::{
    cache::Cache,
    cluster::{Cluster, NODE_IP},
    exec,
    fixture::LIMIT,
    images::{self, Classes},
    progress::Progress,
};

/// Port of the API server on its node.
const API_PORT: &str = "6443";
const SOURCES: [(&str, &str); 6] = [
    (
        "Acknowledging.java",
        include_str!("../../../druid/hrtr/Acknowledging.java"),
    ),
    (
        "Conformance.java",
        include_str!("../../../druid/hrtr/Conformance.java"),
    ),
    ("Overlord.java", include_str!("../../../druid/hrtr/Overlord.java")),
    (
        "PodDiscovery.java",
        include_str!("../../../druid/hrtr/PodDiscovery.java"),
    ),
    ("Poller.java", include_str!("../../../druid/hrtr/Poller.java")),
    ("Wire.java", include_str!("../../../druid/hrtr/Wire.java")),
];

/// Where the client finds workers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Registry<'a> {
    /// Below paths of the `ZooKeeper` at these hosts.
    ZooKeeper(&'a str),
    /// On the pods of a namespace, with the rights of a service account. The folder has its `ca.crt`, `namespace` and
    /// `token`, as they are mounted in a pod.
    Pods(&'a Path),
}

/// What the client needs where workers speak TLS.
pub(crate) struct Tls<'a> {
    /// The file of the certificate that it trusts.
    pub(crate) trusted: &'a Path,
    /// A file that names the hosts: this machine does not ask the cluster's DNS.
    pub(crate) hosts: &'a Path,
}

/// The client. It ends with this value.
pub(crate) struct Client {
    jvm: Jvm<Value>,
    orders: ChildStdin,
}

impl Client {
    /// Starts it: it looks for workers there and signs in with these credentials.
    pub(crate) fn start(
        druid: Classes,
        cluster: &Cluster,
        registry: Registry<'_>,
        (user, password): (&str, &str),
        tls: Option<&Tls<'_>>,
    ) -> Result<Self> {
        let class_path = images::class_path(druid, &Cache::open()?, &Progress::default())?;
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
        let log = cluster.log_dir().join(format!("hrtr-{}.log", druid.version()));
        let mut java = Command::new("java");
        let class_path = format!("{}:{class_path}", classes.display());
        java.args(["-XX:+UseSerialGC", "-Xmx512m"]);
        if let Some(tls) = tls {
            java.arg(format!("-Djdk.net.hosts.file={}", tls.hosts.display()));
        }
        java.args(["-cp", &class_path, "Conformance"]);
        match registry {
            Registry::ZooKeeper(hosts) => java.arg(hosts),
            // A process in a pod finds the API server by these variables.
            Registry::Pods(account) => java
                .env("KUBERNETES_SERVICE_HOST", NODE_IP)
                .env("KUBERNETES_SERVICE_PORT", API_PORT)
                .arg(account),
        };
        java.args([user, password]);
        java.args(tls.map(|tls| tls.trusted));
        java.stdin(Stdio::piped());
        let mut jvm = Jvm::start(&mut java, &log, |line| serde_json::from_str(line).ok())?;
        Ok(Self {
            orders: jvm.input()?,
            jvm,
        })
    }

    /// Gives an order and waits for what comes of it.
    pub(crate) fn order(&mut self, order: &Value) -> Result<Value> {
        let from = self.give(order)?;
        self.answer(order, from)
    }

    /// Gives an order; returns how much had been said before.
    pub(crate) fn give(&mut self, order: &Value) -> Result<usize> {
        let from = self.jvm.said().len();
        writeln!(self.orders, "{order}").with_context(|| self.jvm.tail())?;
        Ok(from)
    }

    /// Waits for what comes of an order that was given.
    pub(crate) fn answer(&mut self, order: &Value, from: usize) -> Result<Value> {
        self.until(&format!("{order} to be done"), |said| {
            let mut later = said.iter().skip(from);
            later.find_map(|s| {
                let failed = s["failed"] == order["do"];
                (failed || s["did"] == order["do"]).then(|| s.clone())
            })
        })
        .and_then(|mut answer| {
            ensure!(answer.get("failed").is_none(), "{answer}; {}", self.jvm.tail());
            Ok(answer["result"].take())
        })
    }

    /// Has an overlord lead that assigns with this number of threads and finds its workers below this path; returns their
    /// addresses once there are as many as there are to be.
    pub(crate) fn lead(
        &mut self,
        name: &str,
        base: &str,
        threads: u32,
        workers: usize,
    ) -> Result<Vec<String>> {
        let order = json!({"do": "lead", "name": name, "base": base, "threads": threads, "workers": workers});
        let mut addresses: Vec<String> = serde_json::from_value(self.order(&order)?)?;
        addresses.sort();
        Ok(addresses)
    }

    /// Has an overlord run so many noop tasks, whose ids begin with a prefix; returns the seconds until the workers had
    /// announced each of them.
    pub(crate) fn run(&mut self, name: &str, prefix: &str, count: usize, tags: &Value) -> Result<f64> {
        self.order(&Self::run_order(name, prefix, count, tags))?
            .as_f64()
            .context("no time")
    }

    /// The order of [`Self::run`].
    pub(crate) fn run_order(name: &str, prefix: &str, count: usize, tags: &Value) -> Value {
        json!({"do": "run", "name": name, "prefix": prefix, "count": count, "tags": tags})
    }

    /// Waits until what was said holds this.
    pub(crate) fn until<T>(&mut self, what: &str, found: impl Fn(&[Value]) -> Option<T>) -> Result<T> {
        self.jvm.until(LIMIT, what, found)
    }

    /// Looks at what was said so far.
    pub(crate) fn said<T>(&self, look: impl FnOnce(&[Value]) -> T) -> T {
        look(&self.jvm.said())
    }
}
