//! What the audit log shows of assignments: the requests of each, and how long each step took.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::count;
use crate::{bench::logs::spread, testbed::audit::Request};

/// The steps in their order. The first and third are the API server's time, from receiving a request to its answer.
const NAMES: [&str; 3] = ["PeonTask", "between", "Secret"];

/// The steps of many assignments.
#[derive(Debug, Clone, Default)]
pub(super) struct Steps {
    /// Requests by who sent them and what they are.
    requests: BTreeMap<String, usize>,
    /// Milliseconds, in the order of [`NAMES`]. An assignment whose payload is in the PeonTask has the first only.
    taken: [Vec<f64>; 3],
}

impl Steps {
    /// Of all assignments in one namespace.
    pub(super) fn of(requests: &[Request], namespace: &str) -> Self {
        let mut steps = Self::default();
        let mut created = BTreeMap::new();
        for request in requests.iter().filter(|r| r.namespace == namespace) {
            let who = if request
                .user
                .starts_with(&format!("system:serviceaccount:{namespace}:"))
            {
                "workers"
            } else {
                "operator"
            };
            let what = format!("{who} {} {} {}", request.verb, request.resource, request.code);
            *steps.requests.entry(what).or_default() += 1;
            let (Some(received), Some(answered)) = (request.received, request.answered) else {
                continue;
            };
            if request.verb != "create" || request.code != 201 {
                continue;
            }
            match request.resource.as_str() {
                "peontasks" => {
                    steps.taken[0].push(milliseconds(received, answered));
                    created.insert(request.name.clone(), answered);
                }
                "secrets" => {
                    steps.taken[2].push(milliseconds(received, answered));
                    let task = request.name.trim_end_matches(".payload.0");
                    if let Some(before) = created.get(task) {
                        steps.taken[1].push(milliseconds(*before, received));
                    }
                }
                _ => {}
            }
        }
        steps
    }

    pub(super) fn and(mut self, other: &Self) -> Self {
        for (what, n) in &other.requests {
            *self.requests.entry(what.clone()).or_default() += n;
        }
        for (all, more) in self.taken.iter_mut().zip(&other.taken) {
            all.extend(more);
        }
        self
    }

    /// Mean number of requests for each of `assignments` assignments, without requests that only a few of them have.
    pub(super) fn requests(&self, assignments: f64) -> String {
        let each = self
            .requests
            .iter()
            .map(|(what, n)| (what, count(*n) / assignments));
        let each = each.filter(|(_, n)| *n >= 0.005);
        let each = each.map(|(what, n)| format!("{what}: {n:.2}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Mean (median, most) of each step, and the mean of the rest of an assignment that took `whole` milliseconds: the
    /// worker's time before the first request and after the last one, and the overlord's.
    pub(super) fn line(&self, whole: f64) -> String {
        let steps = NAMES
            .iter()
            .zip(&self.taken)
            .filter(|(_, taken)| !taken.is_empty());
        let mut rest = whole;
        let mut parts = Vec::new();
        for (name, taken) in steps {
            let mean = taken.iter().sum::<f64>() / count(taken.len());
            let (median, _, most) = spread(taken.clone());
            rest -= mean;
            parts.push(format!("{name} {mean:.1} ({median:.1}, {most:.1})"));
        }
        parts.push(format!("rest {rest:.1}"));
        parts.join(", ")
    }
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}
