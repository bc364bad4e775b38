//! A MiddleManager as Druid has it, which forks a JVM a task.

use anyhow::{Context, Result};
use serde_json::json;

use crate::testbed::{
    druid::{JVM_CONFIG, LOG4J2, fill},
    fixture::{Fixture, LIMIT},
};

const MANIFEST: &str = include_str!("../../../druid/middle-manager.yaml");
/// Name of its objects.
const NAME: &str = "middle-manager";

/// A worker of the fixture's overlord, in the category `stock`, for as long as the value lives.
pub(crate) struct StockMiddleManager<'a> {
    fixture: &'a Fixture,
}

impl<'a> StockMiddleManager<'a> {
    /// Starts it and waits until it is ready. These are the options of its peons.
    pub(crate) fn start(fixture: &'a Fixture, options: &[String]) -> Result<Self> {
        let properties = fixture.druid.common_properties();
        let options = json!(options).to_string();
        let values = [
            ("{properties}", properties.as_str()),
            ("{jvm}", JVM_CONFIG),
            ("{log4j2}", LOG4J2),
            ("{image}", &fixture.druid_image),
            ("{options}", &options),
        ];
        let args = ["apply", "--server-side", "--namespace", fixture.home(), "-f", "-"];
        fixture.kubectl.run_with_input(&args, &fill(MANIFEST, &values))?;
        let stock = Self { fixture };
        let deployment = ["deployment", NAME, "--namespace", fixture.home()];
        let ready = fixture
            .kubectl
            .wait_for(&deployment, LIMIT, |d| d["status"]["readyReplicas"] == 1);
        ready.with_context(|| {
            let log = [
                "--selector=app=middle-manager",
                "--tail=30",
                "--namespace",
                fixture.home(),
            ];
            fixture
                .kubectl
                .logs(&log)
                .unwrap_or_else(|error| format!("{error:#}"))
        })?;
        Ok(stock)
    }
}

impl Drop for StockMiddleManager<'_> {
    fn drop(&mut self) {
        let args = ["deployment,configmap", NAME, "--namespace", self.fixture.home()];
        if let Err(error) = self.fixture.kubectl.delete(&args) {
            eprintln!("the MiddleManager stays: {error:#}");
        }
    }
}
