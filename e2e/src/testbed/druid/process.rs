//! A process of Druid beside the one of a fixture: a broker, or a MiddleManager.

use anyhow::{Context, Result};

use crate::testbed::{
    druid::{JVM_CONFIG, LOG4J2, fill},
    fixture::{Fixture, LIMIT},
};

/// It runs for as long as the value lives.
#[derive(Debug)]
pub(super) struct DruidProcess<'a> {
    fixture: &'a Fixture,
    /// Name of its objects, and of the label `app` of its pod.
    name: &'static str,
}

impl<'a> DruidProcess<'a> {
    /// Applies the manifest with these values besides those of every process, and waits until its pod is ready.
    pub(super) fn start(
        fixture: &'a Fixture,
        name: &'static str,
        manifest: &str,
        more: &[(&str, &str)],
    ) -> Result<Self> {
        let properties = fixture.druid.common_properties();
        let mut values = vec![
            ("{properties}", properties.as_str()),
            ("{jvm}", JVM_CONFIG),
            ("{log4j2}", LOG4J2),
            ("{image}", &fixture.druid_image),
        ];
        values.extend(more);
        let args = ["apply", "--server-side", "--namespace", fixture.home(), "-f", "-"];
        fixture.kubectl.run_with_input(&args, &fill(manifest, &values))?;
        let process = Self { fixture, name };
        let deployment = ["deployment", name, "--namespace", fixture.home()];
        let ready = fixture.kubectl.wait_for(&deployment, LIMIT, |d| {
            d["status"]["readyReplicas"].is_u64() && d["status"]["readyReplicas"] == d["spec"]["replicas"]
        });
        ready.with_context(|| {
            let selector = format!("--selector=app={name}");
            let log = [selector.as_str(), "--tail=30", "--namespace", fixture.home()];
            let log = fixture.kubectl.logs(&log);
            log.unwrap_or_else(|error| format!("{error:#}"))
        })?;
        Ok(process)
    }
}

impl Drop for DruidProcess<'_> {
    fn drop(&mut self) {
        let home = self.fixture.home();
        let args = ["deployment,configmap,service", self.name, "--namespace", home];
        if let Err(error) = self.fixture.kubectl.delete(&args) {
            eprintln!("the {} stays: {error:#}", self.name);
        }
    }
}
