//! A Historical of Druid, for cases that query what was published.

use anyhow::Result;

use super::process::DruidProcess;
use crate::testbed::fixture::Fixture;

const MANIFEST: &str = include_str!("../../../druid/historical.yaml");

/// A Historical, for as long as the value lives. The coordinator has it load all segments.
#[derive(Debug)]
pub(crate) struct Historical<'a> {
    _process: DruidProcess<'a>,
}

impl<'a> Historical<'a> {
    /// Deploys it beside the Druid of the fixture, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn deploy(fixture: &'a Fixture) -> Result<Self> {
        let process = DruidProcess::start(fixture, "historical", MANIFEST, &[])?;
        Ok(Self { _process: process })
    }
}
