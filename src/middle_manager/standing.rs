//! Keeps announced what the object wants, and says in its status how things stand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio::sync::watch;

use super::announce::{AnnouncementState, Announcer, States};
use super::backend::Ordinal;
use super::line::Line;
use super::overlord::Overlord;
use super::process::Options;
use super::report::{self, Facts, OverlordSeen};
use super::submission::Policy;
use super::tasks::Tasks;
use super::{announce, drain, equipment};
use crate::api::virtual_middle_manager::{Drain, MOST_IDENTITIES, SecretRef};
use crate::api::{VirtualMiddleManager, VirtualMiddleManagerSpec, VirtualMiddleManagerStatus};
use crate::kube::decode::{self, Guarded};
use crate::kube::error;
use crate::run::metrics::Metrics;

/// Fields of the status that are the pod's carry this owner.
const OWNER: &str = "peon-operator-middle-manager";
/// How often it is looked whether the status still stands, at most.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is asked who leads.
const LEADER: Duration = Duration::from_secs(30);
/// No answer within this time is a failure.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How the identities stand.
pub(super) struct Standing {
    api: Api<Guarded<VirtualMiddleManager>>,
    name: String,
    hosts: Vec<String>,
    spec: VirtualMiddleManagerSpec,
    status: VirtualMiddleManagerStatus,
    lines: Vec<Arc<Line>>,
    tasks: Arc<Tasks<Arc<Line>>>,
    overlord: Overlord,
    leader: Option<String>,
    asked: Option<Instant>,
    policy: watch::Sender<Policy>,
    /// As whom this process submits.
    submitter: Option<SecretRef>,
    metrics: Metrics,
}

impl Standing {
    #[allow(clippy::too_many_arguments)] // What the process is made of.
    pub(super) fn new(
        client: Client,
        options: &Options,
        manager: &VirtualMiddleManager,
        lines: Vec<Arc<Line>>,
        tasks: Arc<Tasks<Arc<Line>>>,
        overlord: Overlord,
        policy: watch::Sender<Policy>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            api: Api::namespaced(client, &options.namespace),
            name: options.name.clone(),
            hosts: options.hosts.clone(),
            spec: manager.spec.clone(),
            status: manager.status.clone().unwrap_or_default(),
            lines,
            tasks,
            overlord,
            leader: None,
            asked: None,
            policy,
            submitter: equipment::submitter_secret(&manager.spec).cloned(),
            metrics: metrics.clone(),
        }
    }

    /// For as long as it is not dropped. Ends when the object cannot be watched any more.
    pub(super) async fn keep(mut self, announcer: &Announcer, discovered: &[Arc<AtomicBool>]) {
        self.announce(announcer);
        let config = decode::watching().fields(&format!("metadata.name={}", self.name));
        let stream = watcher(self.api.clone(), config)
            .default_backoff()
            .applied_objects();
        let mut objects = std::pin::pin!(stream);
        let states = announcer.states();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                object = objects.next() => match object {
                    // What it last wanted stands.
                    Some(Ok(object @ Guarded(Err(_)))) => object.report(&self.metrics),
                    Some(Ok(Guarded(Ok(object)))) => {
                        self.status = object.status.unwrap_or_default();
                        if self.spec != object.spec {
                            self.spec = object.spec;
                            self.tasks.want(self.spec.identities);
                            self.tell_policy();
                            self.announce(announcer);
                        }
                    }
                    Some(Err(error)) => {
                        let error = error::chain(&error);
                        tracing::warn!(error, "the VirtualMiddleManager cannot be watched; it is tried again");
                    }
                    None => return,
                },
                _ = look.tick() => {
                    let states = states.borrow().clone();
                    for (ordinal, flag) in (0_u16..).zip(discovered) {
                        let is_found = states.get(&Ordinal(ordinal)).is_some_and(AnnouncementState::announced);
                        flag.store(is_found, Ordering::Relaxed);
                    }
                    self.announce(announcer);
                    self.ask_for_the_leader().await;
                    self.say(&states).await;
                }
            }
        }
    }

    /// A change of what is announced is made by the announcer; of what the Deployment says, by another pod.
    fn announce(&self, announcer: &Announcer) {
        for ((ordinal, host), line) in (0_u16..).zip(&self.hosts).zip(&self.lines) {
            let identity = Ordinal(ordinal);
            if self.drain(identity, line) == Some(Drain::Drained) {
                announcer.withdraw(identity);
            } else {
                announcer.announce(identity, equipment::worker(&self.spec, host));
            }
        }
    }

    fn drain(&self, identity: Ordinal, line: &Line) -> Option<Drain> {
        let free = self.tasks.used(identity) == 0;
        drain::state(identity.0, self.spec.identities, free, line.told_all())
    }

    /// Another user needs another pod, which is on its way.
    fn tell_policy(&self) {
        if equipment::submitter_secret(&self.spec) == self.submitter.as_ref() {
            self.policy
                .send_replace(Policy::of(self.spec.submissions.as_ref()));
        }
    }

    async fn ask_for_the_leader(&mut self) {
        if self.asked.is_some_and(|then| then.elapsed() < LEADER) {
            return;
        }
        self.asked = Some(Instant::now());
        // Why nobody says so is in the status.
        self.leader = self.overlord.leader().await.unwrap_or_default();
    }

    fn facts(&self, states: &States) -> Vec<Facts> {
        let facts = |((ordinal, line), host): ((u16, &Arc<Line>), &String)| {
            let identity = Ordinal(ordinal);
            let state = states.get(&identity).cloned().unwrap_or_default();
            Facts {
                address: equipment::worker(&self.spec, host).address(),
                // A younger process of the same identity serves it as well.
                announced: state.standing != announce::Standing::Absent,
                error: state.error,
                disabled: self.tasks.is_disabled(identity),
                used: self.tasks.used(identity),
                drain: self.drain(identity, line),
                polled: line.last_poll().map(|polled| (polled.at, polled.ago)),
            }
        };
        let here = (0_u16..).zip(&self.lines).zip(&self.hosts).map(facts);
        here.chain(self.unserved()).collect()
    }

    /// Identities that have tasks and are not served here, nor by anybody: they are, once the operator knows.
    fn unserved(&self) -> impl Iterator<Item = Facts> {
        let served = u16::try_from(self.hosts.len()).unwrap_or(u16::MAX);
        let last = self.tasks.last_busy().map_or(0, |last| last.0.saturating_add(1));
        (served..last.min(MOST_IDENTITIES)).map(|ordinal| Facts {
            address: format!("identity {ordinal}"),
            announced: false,
            error: Some("it has tasks from before, and is about to be served again".to_owned()),
            disabled: true,
            used: self.tasks.used(Ordinal(ordinal)),
            drain: Some(Drain::Draining),
            polled: None,
        })
    }

    async fn say(&mut self, states: &States) {
        // What a younger process sees, that says itself.
        let superseded =
            |state: &AnnouncementState| matches!(state.standing, announce::Standing::Superseded { .. });
        if states.values().any(superseded) {
            return;
        }
        let facts = self.facts(states);
        let overlord = OverlordSeen {
            leader: self.leader.clone(),
            trouble: self.overlord.trouble(),
        };
        let Some(next) = report::status(&self.status, &facts, &overlord, Timestamp::now()) else {
            return;
        };
        let object = json!({
            "apiVersion": VirtualMiddleManager::api_version(&()),
            "kind": VirtualMiddleManager::kind(&()),
            "status": next,
        });
        let params = PatchParams::apply(OWNER).force();
        let patch = Patch::Apply(&object);
        let write = self.api.patch_status(&self.name, &params, &patch);
        match tokio::time::timeout(TIMEOUT, write).await {
            Ok(Ok(Guarded(Ok(kept)))) => self.status = kept.status.unwrap_or_default(),
            Ok(Ok(object)) => object.report(&self.metrics),
            Ok(Err(error)) => {
                let error = error::chain(&error);
                tracing::warn!(error, "the status cannot be written; it is tried again");
            }
            Err(_) => tracing::warn!("the status was not written in time; it is tried again"),
        }
    }
}
