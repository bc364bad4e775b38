//! The virtual worker, and what makes the peons of both the same.

use anyhow::Result;
use serde_json::json;

use super::{VIRTUAL, until_category};
use crate::testbed::{
    fixture::{Fixture, LIMIT, NAMESPACE},
    wait::wait_until,
};

/// Name of the VirtualMiddleManager.
pub(in crate::bench) const NAME: &str = "bench";

/// A VirtualMiddleManager of one worker, for as long as the value lives.
pub(in crate::bench) struct Virtual<'a> {
    fixture: &'a Fixture,
}

impl<'a> Virtual<'a> {
    pub(in crate::bench) fn start(fixture: &'a Fixture, capacity: usize) -> Result<Self> {
        // No pod of a task has less of the machine than a JVM that a MiddleManager forks.
        fixture.template(NAMESPACE, "default", |spec| {
            spec["resources"]["limits"]["cpu"] = json!("2");
            // Nor does one wait for room that another only requests.
            spec["resources"]["requests"]["cpu"] = json!("50m");
        })?;
        let spec = json!({
            "discovery": {"zookeeper": {"hosts": fixture.druid.zookeeper()}},
            "overlord": {"url": fixture.druid.service_url()?},
            "identities": 1,
            "capacity": capacity,
            "category": VIRTUAL,
            "advertise": "ClusterIP",
            "allowAnonymous": true,
        });
        let object = json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager", "metadata": {"name": NAME}, "spec": spec,
        });
        fixture.apply(NAMESPACE, &object)?;
        let workers = Self { fixture };
        until_category(fixture, VIRTUAL)?;
        Ok(workers)
    }
}

impl Drop for Virtual<'_> {
    fn drop(&mut self) {
        let args = ["virtualmiddlemanager", NAME, "--namespace", NAMESPACE];
        if let Err(error) = self.fixture.kubectl.delete(&args) {
            eprintln!("the VirtualMiddleManager stays: {error:#}");
        }
    }
}

/// The options of the JVM of the one task that there is, but for what a MiddleManager gives its peons itself.
pub(in crate::bench) fn peon_options(fixture: &Fixture) -> Result<Vec<String>> {
    wait_until(LIMIT, "the options of a peon", || {
        let maps = fixture
            .kubectl
            .get_json(&["configmap", "--namespace", NAMESPACE])?;
        let mut maps = maps["items"].as_array().into_iter().flatten();
        let file = maps.find_map(|map| map["data"]["jvm.args"].as_str());
        Ok(file.map(|file| {
            let lines = file.lines().map(|line| line.trim_matches(['"', ' ']).to_owned());
            let options = lines.take_while(|line| line != "-cp");
            options.filter(|option| of_the_jvm(option)).collect()
        }))
    })
}

/// Whether an option is the JVM's own, or a property that sizes it.
fn of_the_jvm(option: &str) -> bool {
    !option.starts_with("-D") || option.starts_with("-Ddruid.processing.")
}
