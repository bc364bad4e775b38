//! A MiddleManager as Druid has it, which forks a JVM a task.

use anyhow::Result;
use serde_json::json;

use super::process::DruidProcess;
use crate::testbed::fixture::Fixture;

const MANIFEST: &str = include_str!("../../../druid/middle-manager.yaml");

/// A worker of the fixture's overlord, in the category `stock`, for as long as the value lives.
pub(crate) struct StockMiddleManager<'a> {
    _process: DruidProcess<'a>,
}

impl<'a> StockMiddleManager<'a> {
    /// Starts it and waits until it is ready. These are the options of its peons.
    pub(crate) fn start(fixture: &'a Fixture, options: &[String]) -> Result<Self> {
        let options = json!(options).to_string();
        let process = DruidProcess::start(fixture, "middle-manager", MANIFEST, &[("{options}", &options)])?;
        Ok(Self { _process: process })
    }
}
