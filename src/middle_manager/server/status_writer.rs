//! Reconciles the announcements with the spec and writes `.status`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::decide::status::{self, Facts, OverlordSeen};
use super::mounted_config;
use super::options::Options;
use crate::api::virtual_middle_manager::{Drain, MOST_IDENTITIES, SecretRef};
use crate::api::{VirtualMiddleManager, VirtualMiddleManagerSpec, VirtualMiddleManagerStatus};
use crate::apiserver::classify::decode::Guarded;
use crate::apiserver::error;
use crate::apiserver::request::{PROMPT, request_within};
use crate::apiserver::watch::{report_object, watching};
use crate::metrics::Metrics;
use crate::middle_manager::FIELD_MANAGER;
use crate::middle_manager::discovery::announce;
use crate::middle_manager::discovery::announce::{AnnouncementState, Announcer, States};
use crate::middle_manager::overlord::Overlord;
use crate::middle_manager::registry::drain;
use crate::middle_manager::registry::identity::Ordinal;
use crate::middle_manager::submit::decide::submission::Policy;
use crate::middle_manager::sync::long_poll::LongPoll;
use crate::middle_manager::sync::tasks::Tasks;

/// Shortest interval between checks of the status.
const LOOK: Duration = Duration::from_secs(2);
/// How often the overlord is asked which one leads.
const LEADER: Duration = Duration::from_secs(30);

/// The object as last seen.
struct SeenObject {
    spec: VirtualMiddleManagerSpec,
    status: VirtualMiddleManagerStatus,
}

/// State needed to write the status of the identities.
pub(crate) struct StatusWriter {
    api: Api<Guarded<VirtualMiddleManager>>,
    name: String,
    hosts: Vec<String>,
    object: Mutex<SeenObject>,
    lines: Vec<Arc<LongPoll>>,
    tasks: Arc<Tasks<Arc<LongPoll>>>,
    overlord: Overlord,
    leader: Mutex<Option<String>>,
    policy: watch::Sender<Policy>,
    /// The Secret of the user as whom this process submits.
    submitter: Option<SecretRef>,
    metrics: Metrics,
}

impl StatusWriter {
    #[allow(clippy::too_many_arguments)] // What the process is made of.
    pub(crate) fn new(
        client: Client,
        options: &Options,
        manager: &VirtualMiddleManager,
        lines: Vec<Arc<LongPoll>>,
        tasks: Arc<Tasks<Arc<LongPoll>>>,
        overlord: Overlord,
        policy: watch::Sender<Policy>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            api: Api::namespaced(client, &options.namespace),
            name: options.name.clone(),
            hosts: options.hosts.clone(),
            object: Mutex::new(SeenObject {
                spec: manager.spec.clone(),
                status: manager.status.clone().unwrap_or_default(),
            }),
            lines,
            tasks,
            overlord,
            leader: Mutex::default(),
            policy,
            submitter: mounted_config::submitter_secret(&manager.spec).cloned(),
            metrics: metrics.clone(),
        }
    }

    /// Runs until it is dropped, or until the object can no longer be watched.
    ///
    /// Announcements wait neither for an overlord that does not say which one leads, nor for an API server that does
    /// not accept the status.
    pub(crate) async fn keep(self, announcer: &Announcer, discovered: &[Arc<AtomicBool>]) {
        self.announce(announcer);
        tokio::select! {
            () = self.follow(announcer) => {}
            () = self.announce_now_and_then(announcer, discovered) => {}
            () = self.ask_for_the_leader() => {}
            () = self.say_now_and_then(announcer) => {}
        }
    }

    /// Follows the object.
    async fn follow(&self, announcer: &Announcer) {
        let config = watching().fields(&format!("metadata.name={}", self.name));
        let stream = watcher(self.api.clone(), config)
            .default_backoff()
            .applied_objects();
        let mut objects = std::pin::pin!(stream);
        loop {
            match objects.next().await {
                // The last spec remains in force.
                Some(Ok(object @ Guarded(Err(_)))) => {
                    report_object(&object, &self.metrics);
                }
                Some(Ok(Guarded(Ok(object)))) => self.see(object, announcer),
                Some(Err(error)) => {
                    let error = error::chain(&error);
                    tracing::warn!(
                        error,
                        "the VirtualMiddleManager cannot be watched; it is tried again"
                    );
                }
                None => return,
            }
        }
    }

    fn see(&self, object: VirtualMiddleManager, announcer: &Announcer) {
        let changed = {
            let mut seen = self.object.lock();
            seen.status = object.status.unwrap_or_default();
            let changed = seen.spec != object.spec;
            seen.spec = object.spec;
            changed
        };
        if changed {
            let spec = self.object.lock().spec.clone();
            self.tasks.want(spec.identities);
            self.tell_policy(&spec);
            self.announce(announcer);
        }
    }

    async fn announce_now_and_then(&self, announcer: &Announcer, discovered: &[Arc<AtomicBool>]) {
        let states = announcer.states();
        let mut look = now_and_then();
        loop {
            look.tick().await;
            {
                let states = states.borrow();
                for (ordinal, flag) in (0_u16..).zip(discovered) {
                    let is_found = states
                        .get(&Ordinal(ordinal))
                        .is_some_and(AnnouncementState::announced);
                    flag.store(is_found, Ordering::Relaxed);
                }
            }
            self.announce(announcer);
        }
    }

    async fn say_now_and_then(&self, announcer: &Announcer) {
        let states = announcer.states();
        let mut look = now_and_then();
        loop {
            look.tick().await;
            let states = states.borrow().clone();
            self.say(&states).await;
        }
    }

    /// Changes of announced values are made by the announcer; changes of the Deployment need another pod.
    fn announce(&self, announcer: &Announcer) {
        let spec = self.object.lock().spec.clone();
        for ((ordinal, host), line) in (0_u16..).zip(&self.hosts).zip(&self.lines) {
            let identity = Ordinal(ordinal);
            if self.drain(&spec, identity, line) == Some(Drain::Drained) {
                announcer.withdraw(&identity);
            } else {
                announcer.announce(identity, mounted_config::worker(&spec, host));
            }
        }
    }

    fn drain(&self, spec: &VirtualMiddleManagerSpec, identity: Ordinal, line: &LongPoll) -> Option<Drain> {
        let free = self.tasks.used(identity) == 0;
        drain::state(identity.0, spec.identities, free, line.told_all())
    }

    /// Another submitting user needs another pod, which is being created.
    fn tell_policy(&self, spec: &VirtualMiddleManagerSpec) {
        if mounted_config::submitter_secret(spec) == self.submitter.as_ref() {
            self.policy.send_replace(Policy::of(spec.submissions.as_ref()));
        }
    }

    async fn ask_for_the_leader(&self) {
        let mut ask = tokio::time::interval(LEADER);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ask.tick().await;
            // The reason is in the status.
            let leader = self.overlord.leader().await.unwrap_or_default();
            *self.leader.lock() = leader;
        }
    }

    fn facts(&self, spec: &VirtualMiddleManagerSpec, states: &States) -> Vec<Facts> {
        let facts = |((ordinal, line), host): ((u16, &Arc<LongPoll>), &String)| {
            let identity = Ordinal(ordinal);
            let state = states.get(&identity).cloned().unwrap_or_default();
            let address = mounted_config::worker(spec, host).address();
            Facts {
                ordinal,
                announced_at: mounted_config::announced_at(spec, &self.name, ordinal, &address),
                address,
                // A younger process of the same identity also serves it.
                announced: state.presence != announce::Presence::Absent,
                error: state.error,
                disabled: self.tasks.is_disabled(identity),
                used: self.tasks.used(identity),
                drain: self.drain(spec, identity, line),
                polled: line.last_poll().map(|polled| (polled.at, polled.ago)),
            }
        };
        let here = (0_u16..).zip(&self.lines).zip(&self.hosts).map(facts);
        here.chain(self.unserved()).collect()
    }

    /// Identities that have tasks and are served by no process: they will be, once the operator knows.
    fn unserved(&self) -> impl Iterator<Item = Facts> {
        let served = u16::try_from(self.hosts.len()).unwrap_or(u16::MAX);
        let last = self.tasks.last_busy().map_or(0, |last| last.0.saturating_add(1));
        (served..last.min(MOST_IDENTITIES)).map(|ordinal| Facts {
            ordinal,
            address: format!("identity {ordinal}"),
            announced: false,
            announced_at: None,
            error: Some(
                "it still has tasks from an earlier configuration, and will be served again".to_owned(),
            ),
            disabled: true,
            used: self.tasks.used(Ordinal(ordinal)),
            drain: Some(Drain::Draining),
            polled: None,
        })
    }

    async fn say(&self, states: &States) {
        // A younger process reports itself what it sees.
        let superseded =
            |state: &AnnouncementState| matches!(state.presence, announce::Presence::Superseded { .. });
        if states.values().any(superseded) {
            return;
        }
        let overlord = OverlordSeen {
            leader: self.leader.lock().clone(),
            trouble: self.overlord.trouble(),
        };
        let next = {
            let object = self.object.lock();
            let facts = self.facts(&object.spec, states);
            let (announced, polled) = status::reached(&facts);
            self.metrics
                .identities(usize::from(object.spec.identities), announced, polled);
            status::status(&object.status, &facts, &overlord, Timestamp::now())
        };
        let Some(next) = next else {
            return;
        };
        let object = json!({
            "apiVersion": VirtualMiddleManager::api_version(&()),
            "kind": VirtualMiddleManager::kind(&()),
            "status": next,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&object);
        let write = self.api.patch_status(&self.name, &params, &patch);
        match request_within(PROMPT, "patch virtualmiddlemanager/status", write).await {
            Ok(Guarded(Ok(kept))) => self.object.lock().status = kept.status.unwrap_or_default(),
            Ok(object) => report_object(&object, &self.metrics),
            Err(error) => {
                let error = error.why();
                tracing::warn!(
                    error,
                    "the status of the VirtualMiddleManager cannot be written; it is tried again"
                );
            }
        }
    }
}

fn now_and_then() -> tokio::time::Interval {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look
}

#[cfg(test)]
mod tests {
    use axum::http::{Request, Response};
    use kube::client::Body;

    use super::*;
    use crate::clock::Clock;
    use crate::druid::worker::Counter;
    use crate::middle_manager::discovery::announce::{Board, Discovery, Wanted};
    use crate::middle_manager::overlord::Settings;
    use crate::process::telemetry::{LogFormat, LogOptions};

    /// Announces and withdraws at once.
    struct Obedient;

    impl Discovery for Obedient {
        async fn keep(self, mut wanted: watch::Receiver<Wanted>, board: Board) {
            let mut held: Wanted = Wanted::new();
            loop {
                let now = wanted.borrow_and_update().clone();
                for identity in held.keys().filter(|o| !now.contains_key(o)) {
                    board.withdrawn(identity);
                }
                for identity in now.keys() {
                    board.set(identity, announce::Presence::Announced);
                }
                held = now;
                if wanted.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Neither the API server nor the overlord answers anything.
    #[tokio::test(start_paused = true)]
    async fn a_worker_that_has_drained_is_withdrawn_whoever_is_silent() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let client = Client::new(
            tower::service_fn(|_: Request<Body>| {
                std::future::pending::<Result<Response<Body>, tower::BoxError>>()
            }),
            "ns",
        );
        let manager: VirtualMiddleManager = serde_json::from_value(json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager", "metadata": {"name": "vmm", "namespace": "ns"},
            "spec": {
                "discovery": {"zookeeper": {"hosts": "z:2181"}}, "overlord": {"url": url}, "identities": 1,
                "allowAnonymous": true,
            },
        }))
        .unwrap();
        let options = Options {
            name: "vmm".into(),
            namespace: "ns".into(),
            hosts: vec!["a".into(), "b".into()],
            listen: ([127, 0, 0, 1], 0).into(),
            body_limit: 1024,
            log: LogOptions {
                format: LogFormat::Text,
                filter: String::new(),
            },
        };
        let lines = vec![Arc::new(LongPoll::new(1)), Arc::new(LongPoll::new(2))];
        let tasks = Arc::new(Tasks::new(lines.clone(), Clock::default()));
        let settings = Settings {
            url,
            ca: None,
            credentials: None,
            observer: None,
        };
        let overlord = Overlord::new(&settings).unwrap();
        let (policy, _) = watch::channel(Policy::of(None));
        let standing = StatusWriter::new(
            client,
            &options,
            &manager,
            lines.clone(),
            tasks,
            overlord,
            policy,
            &Metrics::default(),
        );
        // The overlord has not heard yet that the second takes no tasks.
        lines[1].disable(true);
        let announcer = Announcer::start(Obedient);
        let mut states = announcer.states();
        let discovered = [Arc::default(), Arc::default()];
        let drained = async {
            states.wait_for(|states| states.len() == 2).await.unwrap();
            tokio::time::sleep(LOOK).await;
            // It hears, and hears that it has heard.
            let nothing = Counter { counter: -1, hash: 0 };
            let answer = lines[1].poll(nothing, Duration::from_millis(1)).await;
            let known = answer.counter.unwrap();
            let _ = lines[1].poll(known, Duration::from_millis(1)).await;
            assert!(lines[1].told_all());
            let withdrawn = states.wait_for(|states| states.len() == 1);
            // Less than the time-outs of those who are silent.
            tokio::time::timeout(LOOK * 2, withdrawn).await.unwrap().unwrap();
        };
        tokio::select! {
            () = standing.keep(&announcer, &discovered) => unreachable!(),
            () = drained => {}
        }
    }
}
