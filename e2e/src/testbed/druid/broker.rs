//! A broker of Druid, for cases that query.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::testbed::{
    druid::{JVM_CONFIG, LOG4J2, fill},
    fixture::{Fixture, LIMIT},
    proxy::Proxy,
};

const BROKER: &str = include_str!("../../../druid/broker.yaml");

/// A broker, for as long as the value lives.
#[derive(Debug)]
pub struct Broker<'a> {
    fixture: &'a Fixture,
    proxy: Proxy,
}

impl<'a> Broker<'a> {
    /// Deploys it beside the Druid of the fixture, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn deploy(fixture: &'a Fixture) -> Result<Self> {
        let broker = Self {
            fixture,
            proxy: Proxy::start(&fixture.kubectl)?,
        };
        let properties = fixture.druid.common_properties();
        let values = [
            ("{properties}", properties.as_str()),
            ("{jvm}", JVM_CONFIG),
            ("{log4j2}", LOG4J2),
            ("{image}", &fixture.druid_image),
        ];
        let args = ["apply", "--server-side", "--namespace", fixture.home(), "-f", "-"];
        fixture.kubectl.run_with_input(&args, &fill(BROKER, &values))?;
        let deployment = ["deployment", "broker", "--namespace", fixture.home()];
        let ready = fixture
            .kubectl
            .wait_for(&deployment, LIMIT, |d| d["status"]["readyReplicas"] == 1);
        ready.with_context(|| {
            let log = [
                "--selector=app=broker",
                "--tail=30",
                "--namespace",
                fixture.home(),
            ];
            fixture
                .kubectl
                .logs(&log)
                .unwrap_or_else(|error| format!("{error:#}"))
        })?;
        Ok(broker)
    }

    /// The rows that a query in SQL returns, each a list.
    ///
    /// # Errors
    /// When the broker refuses it, for example because it knows no data source of that name yet.
    pub fn sql(&self, query: &str) -> Result<Vec<Value>> {
        let path = format!(
            "/api/v1/namespaces/{}/services/broker:8082/proxy/druid/v2/sql",
            self.fixture.home()
        );
        // What was counted a moment ago is counted again.
        let context = json!({"useCache": false, "populateCache": false});
        let body = json!({"query": query, "resultFormat": "array", "context": context});
        let answer = self.proxy.request("POST", &path, Some(&body.to_string()))?;
        serde_json::from_str(&answer).with_context(|| format!("not a list: {answer}"))
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        let objects = "deployment/broker,service/broker,configmap/broker";
        for object in objects.split(',') {
            if let Err(error) =
                self.fixture
                    .kubectl
                    .delete(&[object, "--namespace", self.fixture.home(), "--wait=false"])
            {
                eprintln!("{object} stays: {error:#}");
            }
        }
    }
}
