//! A broker of Druid, for cases that query.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::process::DruidProcess;
use crate::testbed::{fixture::Fixture, proxy::Proxy};

const MANIFEST: &str = include_str!("../../../druid/broker.yaml");

/// A broker, for as long as the value lives.
#[derive(Debug)]
pub struct Broker<'a> {
    fixture: &'a Fixture,
    proxy: Proxy,
    _process: DruidProcess<'a>,
}

impl<'a> Broker<'a> {
    /// Deploys it beside the Druid of the fixture, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn deploy(fixture: &'a Fixture) -> Result<Self> {
        Ok(Self {
            fixture,
            proxy: Proxy::start(&fixture.kubectl)?,
            _process: DruidProcess::start(fixture, "broker", MANIFEST, &[])?,
        })
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
