//! The API server of our own cluster, which is away for a while.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::testbed::{
    cluster::{Cluster, Component},
    fixture::{Fixture, LIMIT},
    wait::wait_even_if_interrupted,
};

/// The API server, which is down for as long as the value lives.
#[derive(Debug)]
pub struct Away<'a> {
    cluster: &'a Cluster,
    fixture: &'a Fixture,
    /// Since when.
    pub since: Instant,
}

impl<'a> Away<'a> {
    /// Ends it, and waits until it is gone. When the value goes, another one is started and awaited.
    ///
    /// # Errors
    /// When the cluster is not our own, or it does not end.
    pub fn begin(fixture: &'a Fixture) -> Result<Self> {
        let cluster = fixture.target.own().context("no cluster of our own")?;
        let mut away = Self {
            cluster,
            fixture,
            since: Instant::now(),
        };
        cluster.stop(Component::ApiServer)?;
        away.since = Instant::now();
        Ok(away)
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        let back = self.cluster.start(Component::ApiServer).and_then(|()| {
            wait_even_if_interrupted(LIMIT, "the API server", || {
                Ok(self.fixture.kubectl.run(&["get", "--raw", "/readyz"]).ok())
            })
        });
        if let Err(error) = back {
            eprintln!("the API server stays away: {error:#}");
        }
    }
}
