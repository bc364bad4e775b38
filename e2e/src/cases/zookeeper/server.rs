//! A ZooKeeper of the version that Druid comes with, which can be frozen, ended and started again.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::wire::Session;
use crate::testbed::{
    background::Background, cache::Cache, images, object_stores::server::Folder, ports, progress::Progress,
};

const LIMIT: Duration = Duration::from_secs(120);
/// In which a server that is ready answers; it is asked again.
const ANSWER: Duration = Duration::from_secs(1);

/// A server, with its data in a folder that goes with this value; it is killed then.
pub(in crate::cases) struct Server {
    class_path: String,
    // Goes before its data.
    running: Option<Background>,
    folder: Folder,
    pub(super) port: u16,
}

impl Server {
    /// A server that runs.
    pub(in crate::cases) fn start(cache: &Cache, progress: &Progress) -> Result<Self> {
        let mut server = Self::prepare(cache, progress)?;
        server.run()?;
        Ok(server)
    }

    /// A server that does not run yet.
    pub(super) fn prepare(cache: &Cache, progress: &Progress) -> Result<Self> {
        Ok(Self {
            class_path: images::druid_class_path(cache, progress)?,
            folder: Folder::new()?,
            port: ports::free()?.port(),
            running: None,
        })
    }

    /// The hosts, as Druid is given them.
    pub(in crate::cases) fn hosts(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The class path of this server, which is Druid's.
    pub(in crate::cases) fn class_path(&self) -> &str {
        &self.class_path
    }

    /// Starts it, with the data that it had, and waits until it answers.
    pub(super) fn run(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let configuration = folder.join("zoo.cfg");
        fs::write(
            &configuration,
            format!(
                "dataDir={}/data\nclientPort={}\nclientPortAddress=127.0.0.1\ntickTime=500\nminSessionTimeout=1000\n\
                 maxSessionTimeout=600000\nmaxClientCnxns=0\nadmin.enableServer=false\n",
                folder.display(),
                self.port
            ),
        )?;
        let mut java = Command::new("java");
        java.args([
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xmx96m",
            "-cp",
            &self.class_path,
        ]);
        java.arg("org.apache.zookeeper.server.ZooKeeperServerMain")
            .arg(&configuration);
        let running = Background::start(java.current_dir(folder), &folder.join("server.log"))?;
        let port = self.port;
        self.running.insert(running).until(LIMIT, "ZooKeeper", || {
            Ok(Session::open_within(port, ANSWER).ok().map(drop))
        })
    }

    /// Ends it; what it was told stays.
    pub(super) fn end(&mut self) {
        self.running = None;
    }

    /// Ends it and loses what it was told.
    pub(super) fn lose(&mut self) -> Result<()> {
        self.end();
        Ok(fs::remove_dir_all(self.folder.path().join("data"))?)
    }

    /// Freezes it: connections stay, and nothing is answered.
    pub(super) fn freeze(&self) -> Result<()> {
        self.process()?.freeze()
    }

    /// Ends the frost.
    pub(super) fn thaw(&self) -> Result<()> {
        self.process()?.thaw()
    }

    fn process(&self) -> Result<&Background> {
        self.running.as_ref().context("the server does not run")
    }
}
