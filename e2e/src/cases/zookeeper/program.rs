//! A process that announces: the program `announce`.

use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    process::{ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::server::Server;
use crate::testbed::{background::Background, object_stores::server::Folder, wait::wait_until};

/// For anything that a process is to do. Machines may be slow, and sessions take their time to end.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// The process. It is killed when this value goes away.
pub(super) struct Program {
    process: Background,
    input: Option<ChildStdin>,
    said: Arc<Mutex<Vec<Value>>>,
    folder: Folder,
}

impl Program {
    /// Starts a process of that name, with further arguments.
    pub(super) fn start(server: &Server, name: &str, args: &[&str]) -> Result<Self> {
        let folder = Folder::new()?;
        let log = folder.path().join("log");
        let program = env::current_exe()?.with_file_name("announce");
        let mut command = Command::new(program);
        command
            .env_clear()
            .arg(server.hosts())
            .args(["--name", name])
            .args(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let mut process = Background::spawn(&mut command, &log)?;
        let output = process.output()?;
        let said = Arc::<Mutex<Vec<Value>>>::default();
        let heard = said.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // What is no JSON is missed, and found in the log's stead.
                let Ok(value) = serde_json::from_str(&line) else {
                    return;
                };
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(value);
            }
        });
        Ok(Self {
            input: Some(process.input()?),
            process,
            said,
            folder,
        })
    }

    /// Tells it to do something.
    pub(super) fn tell(&mut self, order: &str) -> Result<()> {
        let input = self.input.as_mut().context("it was stopped")?;
        Ok(writeln!(input, "{order}")?)
    }

    /// Everything that it said of how things stand, oldest first.
    pub(super) fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until what it said last is so.
    pub(super) fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let last = || self.said().pop().unwrap_or(Value::Null);
        let waited = wait_until(LIMIT, what, || Ok(Some(last()).filter(&is)));
        waited.with_context(|| {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            format!("it says {}; its log:\n{log}", last())
        })
    }

    /// Waits until that identity stands so, with nothing wrong.
    pub(super) fn until_it_is(&self, identity: u16, presence: &str) -> Result<Value> {
        let identity = identity.to_string();
        self.until(&format!("{identity} to be {presence}"), |said| {
            said[&identity]["presence"] == presence && said[&identity]["error"].is_null()
        })
    }

    /// Waits until that identity stands so, with something wrong that has that word in it.
    pub(super) fn until_wrong(&self, identity: u16, presence: &str, word: &str) -> Result<Value> {
        let identity = identity.to_string();
        self.until(&format!("{identity} to be {presence} with {word:?}"), |said| {
            let error = said[&identity]["error"].as_str();
            said[&identity]["presence"] == presence && error.is_some_and(|error| error.contains(word))
        })
    }

    /// Freezes it: it does nothing, and does not know.
    pub(super) fn freeze(&self) -> Result<()> {
        self.process.freeze()
    }

    /// Ends the frost.
    pub(super) fn thaw(&self) -> Result<()> {
        self.process.thaw()
    }

    /// Has it end by itself, with everything withdrawn.
    pub(super) fn stop(mut self) -> Result<()> {
        self.input = None;
        let status = wait_until(LIMIT, "the process to end", || self.process.ended())?;
        ensure!(
            status.success(),
            "it ended with {status}; {}",
            self.process.tail()
        );
        Ok(())
    }
}
