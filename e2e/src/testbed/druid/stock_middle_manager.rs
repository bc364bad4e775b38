//! Workers as Druid has them: a MiddleManager, which forks a JVM a task, and Indexers, whose tasks share their JVM.

use anyhow::Result;
use serde_json::json;

use super::process::DruidProcess;
use crate::testbed::fixture::Fixture;

const MIDDLE_MANAGER: &str = include_str!("../../../druid/middle-manager.yaml");
const INDEXER: &str = include_str!("../../../druid/indexer.yaml");

/// A worker of the fixture's overlord, in the category `stock`, for as long as the value lives.
pub(crate) struct StockMiddleManager<'a> {
    _process: DruidProcess<'a>,
}

impl<'a> StockMiddleManager<'a> {
    /// Starts it with this number of slots, and waits until it is ready. These are the options of its peons.
    pub(crate) fn start(fixture: &'a Fixture, options: &[String], slots: usize) -> Result<Self> {
        let (options, slots) = (json!(options).to_string(), slots.to_string());
        let values = [("{options}", options.as_str()), ("{slots}", &slots)];
        let process = DruidProcess::start(fixture, "middle-manager", MIDDLE_MANAGER, &values)?;
        Ok(Self { _process: process })
    }
}

/// Two workers of the fixture's overlord, in the category `indexer`, for as long as the value lives.
pub(crate) struct StockIndexers<'a> {
    _process: DruidProcess<'a>,
}

impl<'a> StockIndexers<'a> {
    /// How many there are.
    pub(crate) const COUNT: usize = 2;

    /// Starts them with this number of slots each, and waits until they are ready.
    pub(crate) fn start(fixture: &'a Fixture, slots: usize) -> Result<Self> {
        let (slots, count) = (slots.to_string(), Self::COUNT.to_string());
        let values = [("{slots}", slots.as_str()), ("{count}", &count)];
        let process = DruidProcess::start(fixture, "indexer", INDEXER, &values)?;
        Ok(Self { _process: process })
    }
}
