//! Whether a `VirtualMiddleManager` is served (pure).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::conditions::{Conditions, READY, find, is_true};
use crate::api::{VirtualMiddleManager, VirtualMiddleManagerSpec};
use crate::apiserver::classify::decode::Unreadable;
use crate::middle_manager::registry::drain;

/// Condition that the pod writes: every identity stands in discovery and is asked for news.
pub const ANNOUNCED: &str = "Announced";
/// Whether the overlord answers what the pod asks: who leads, and what became of tasks. Written by the pod.
pub const OVERLORD_ANSWERS: &str = "OverlordAnswers";

/// Whether whoever calls the workers needs credentials. Written by the operator.
pub const AUTHENTICATED: &str = "Authenticated";

/// Reasons of `Authenticated`.
pub mod authenticated {
    /// Requests need the credentials of `spec.auth`.
    pub const BASIC_AUTH: &str = "BasicAuth";
    /// `spec.allowAnonymous`: whoever reaches the workers can run any task.
    pub const ANONYMOUS_ALLOWED: &str = "AnonymousAllowed";
    /// Neither `auth` nor `allowAnonymous` is set: the workers are not started.
    pub const NO_AUTHENTICATION: &str = "NoAuthentication";
}

/// Reasons of `Ready`.
pub mod ready {
    /// Every identity is announced, and an overlord asks it for news.
    pub const SERVING: &str = "Serving";
    /// The pod that serves the identities does not run, or is not ready.
    pub const NOT_RUNNING: &str = "NotRunning";
    /// A pod with the last change is not ready; the one before it serves.
    pub const UPDATING: &str = "Updating";
    /// A Service has no address yet.
    pub const NO_ADDRESS: &str = "NoAddress";
    /// The API server refuses what is to be created; the message is its own.
    pub const NOT_CREATED: &str = "NotCreated";
    /// The pod runs and has said nothing yet.
    pub const STARTING: &str = "Starting";
    /// An object of a needed name belongs to somebody else; the message names it.
    pub const NAME_CONFLICT: &str = "NameConflict";
    /// Neither `auth` nor `allowAnonymous` is set: the workers are not started.
    pub const NO_AUTHENTICATION: &str = super::authenticated::NO_AUTHENTICATION;
    /// The object cannot be read by this version of the operator; the message says why.
    pub const UNREADABLE: &str = "Unreadable";
}

/// What is missing in a spec that says nothing of authentication. The rule of the custom resource refuses such a spec; an
/// object may be older than the rule.
#[must_use]
pub fn lacks_authentication(spec: &VirtualMiddleManagerSpec) -> Option<&'static str> {
    (spec.auth.is_none() && !spec.allow_anonymous).then_some(
        "set auth to a Secret with the username and password of Druid's escalator, or allowAnonymous: true: without, \
         workers are not started, and a Deployment from before is left as it is",
    )
}

/// What there is of the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The pod is ready.
    Runs,
    /// One that has the last change is not ready yet; the one before it serves.
    Updating(String),
    /// It is not, for the reason that the Deployment gives.
    NotReady(String),
    /// A Service has no address.
    NoAddress,
    /// Something could not be made.
    Failed(String),
    /// The spec does not say who may call the workers; what is to be set.
    NoAuthentication(String),
    /// An object of a needed name belongs to somebody else.
    Conflict(String),
}

impl Seen {
    /// What a Deployment shows.
    #[must_use]
    pub fn of(deployment: &Value) -> Self {
        let status = &deployment["status"];
        let current = status["observedGeneration"] == deployment["metadata"]["generation"];
        let count = |field: &str| status[field].as_u64().unwrap_or_default();
        let is_ready = count("readyReplicas") > 0;
        // The pod before it is deleted when the new one is ready.
        if current && is_ready && count("updatedReplicas") == count("replicas") {
            return Self::Runs;
        }
        let conditions = status["conditions"].as_array();
        let said = conditions
            .into_iter()
            .flatten()
            .find(|c| c["type"] == "ReplicaFailure" && c["status"] == "True")
            .and_then(|c| c["message"].as_str());
        if is_ready {
            let said =
                said.unwrap_or("the pod that has the last change is not ready yet; the one before it serves");
            return Self::Updating(said.to_owned());
        }
        Self::NotReady(said.unwrap_or("no pod of its Deployment is ready").to_owned())
    }
}

/// A number that changes when there is something to look at. The pod writes into the status what changes every few seconds
/// (slots in use, the last poll, what the overlord answers); nothing here follows from that.
#[must_use]
pub fn looked_at(manager: &VirtualMiddleManager) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    let meta = &manager.metadata;
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some()).hash(&mut hash);
    drain::served(manager).hash(&mut hash);
    let conditions = manager.status.iter().flat_map(|s| &s.conditions);
    for condition in conditions.filter(|c| c.type_ != OVERLORD_ANSWERS) {
        (
            &condition.type_,
            &condition.status,
            &condition.reason,
            &condition.message,
        )
            .hash(&mut hash);
    }
    Some(hash.finish())
}

/// What is said of an object that cannot be read: the same each time, so that writing it again changes nothing.
#[must_use]
pub fn unreadable(unreadable: &Unreadable, since: Option<&Time>) -> Vec<Condition> {
    let message = format!(
        "the VirtualMiddleManager cannot be read by this version of the operator: {}",
        unreadable.error
    );
    let since = since.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let mut conditions = Conditions::from(&[], unreadable.metadata.generation, since);
    conditions.set(READY, false, ready::UNREADABLE, &message);
    conditions.into_list()
}

/// The operator's conditions; `None` where they stand already.
#[must_use]
pub fn conditions(manager: &VirtualMiddleManager, seen: &Seen, now: Timestamp) -> Option<Vec<Condition>> {
    let status = manager.status.clone().unwrap_or_default();
    let announced = find(&status.conditions, ANNOUNCED);
    let (is, reason, message) = match (seen, announced) {
        (Seen::Failed(message), _) => (false, ready::NOT_CREATED, message.clone()),
        (Seen::NoAuthentication(message), _) => (false, ready::NO_AUTHENTICATION, message.clone()),
        (Seen::Conflict(message), _) => (false, ready::NAME_CONFLICT, message.clone()),
        (Seen::NoAddress, _) => (
            false,
            ready::NO_ADDRESS,
            "a Service has no address yet".to_owned(),
        ),
        (Seen::NotReady(message), _) => (false, ready::NOT_RUNNING, message.clone()),
        (Seen::Updating(message), _) => (false, ready::UPDATING, message.clone()),
        (Seen::Runs, None) => (
            false,
            ready::STARTING,
            "the pod has not said anything yet".to_owned(),
        ),
        (Seen::Runs, Some(announced)) if is_true(&status.conditions, ANNOUNCED) => {
            (true, ready::SERVING, announced.message.clone())
        }
        (Seen::Runs, Some(announced)) => (false, announced.reason.as_str(), announced.message.clone()),
    };
    let generation = manager.metadata.generation;
    let ours = [READY, AUTHENTICATED].into_iter();
    let ours: Vec<Condition> = ours
        .filter_map(|t| find(&status.conditions, t).cloned())
        .collect();
    let mut next = Conditions::from(&ours, generation, now);
    next.set(READY, is, reason, &message);
    let (is, reason, message) = authentication(&manager.spec);
    next.set(AUTHENTICATED, is, reason, message);
    let next = next.into_list();
    (next != ours || status.observed_generation != generation).then_some(next)
}

fn authentication(spec: &VirtualMiddleManagerSpec) -> (bool, &'static str, &'static str) {
    use authenticated::{ANONYMOUS_ALLOWED, BASIC_AUTH, NO_AUTHENTICATION};
    match (lacks_authentication(spec), &spec.auth) {
        (Some(missing), _) => (false, NO_AUTHENTICATION, missing),
        (None, Some(_)) => (true, BASIC_AUTH, "requests need the credentials of spec.auth"),
        (None, None) => (
            false,
            ANONYMOUS_ALLOWED,
            "allowAnonymous: whoever reaches the workers' Services or pod can run any task here; a NetworkPolicy has to \
             keep all but the overlord away",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::virtual_middle_manager::SecretRef;

    fn manager(conditions: &Value) -> VirtualMiddleManager {
        serde_json::from_value(json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager",
            "metadata": {"name": "ingestion", "namespace": "druid", "uid": "u", "generation": 2},
            "spec": {"discovery": {"zookeeper": {"hosts": "z:2181"}}, "overlord": {"url": "http://o:8090"}},
            "status": {"conditions": conditions, "observedGeneration": 2},
        }))
        .unwrap()
    }

    fn announced(status: &str) -> Value {
        json!([{
            "type": ANNOUNCED, "status": status, "reason": "NotAnnounced", "message": "no ZooKeeper",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }])
    }

    fn ready(seen: &Seen, conditions: &Value) -> (String, String) {
        let now = Timestamp::UNIX_EPOCH;
        let list = super::conditions(&manager(conditions), seen, now).unwrap();
        assert_eq!(list.len(), 2, "the pod's own is not ours to write");
        (list[0].status.clone(), list[0].reason.clone())
    }

    #[test]
    fn it_is_ready_when_its_pod_runs_and_is_announced() {
        let cases = [
            (Seen::Runs, announced("True"), "True", ready::SERVING),
            (Seen::Runs, announced("False"), "False", "NotAnnounced"),
            (Seen::Runs, json!([]), "False", ready::STARTING),
            (
                Seen::NotReady("x".into()),
                announced("True"),
                "False",
                ready::NOT_RUNNING,
            ),
            (Seen::NoAddress, announced("True"), "False", ready::NO_ADDRESS),
            (
                Seen::Failed("x".into()),
                announced("True"),
                "False",
                ready::NOT_CREATED,
            ),
            (
                Seen::NoAuthentication("x".into()),
                announced("True"),
                "False",
                ready::NO_AUTHENTICATION,
            ),
            (
                Seen::Conflict("x".into()),
                announced("True"),
                "False",
                ready::NAME_CONFLICT,
            ),
        ];
        for (seen, conditions, is, reason) in cases {
            assert_eq!(
                super::tests::ready(&seen, &conditions),
                (is.to_owned(), reason.to_owned()),
                "{seen:?}"
            );
        }
    }

    #[test]
    fn a_condition_says_who_may_call_the_workers() {
        for (auth, anonymous, is, reason) in [
            (true, false, "True", authenticated::BASIC_AUTH),
            (false, true, "False", authenticated::ANONYMOUS_ALLOWED),
            (false, false, "False", authenticated::NO_AUTHENTICATION),
        ] {
            let mut manager = manager(&announced("True"));
            manager.spec.auth = auth.then(|| SecretRef { name: "s".into() });
            manager.spec.allow_anonymous = anonymous;
            let list = conditions(&manager, &Seen::Runs, Timestamp::UNIX_EPOCH).unwrap();
            let said = find(&list, AUTHENTICATED).unwrap();
            assert_eq!((said.status.as_str(), said.reason.as_str()), (is, reason));
            assert_eq!(
                lacks_authentication(&manager.spec).is_some(),
                reason == authenticated::NO_AUTHENTICATION
            );
        }
    }

    #[test]
    fn a_status_that_stands_is_not_written_again() {
        let mut manager = manager(&announced("True"));
        let first = conditions(&manager, &Seen::Runs, Timestamp::UNIX_EPOCH).unwrap();
        manager.status.as_mut().unwrap().conditions.extend(first);
        assert_eq!(conditions(&manager, &Seen::Runs, Timestamp::now()), None);
        assert!(conditions(&manager, &Seen::NoAddress, Timestamp::now()).is_some());
    }

    #[test]
    fn what_changes_all_the_time_is_not_looked_at() {
        let mut manager = manager(&announced("True"));
        let before = looked_at(&manager);
        let status = manager.status.as_mut().unwrap();
        status.used = Some(3);
        status.leader = Some("http://another".into());
        assert_eq!(looked_at(&manager), before);
        let mut others = vec![manager.clone(), manager.clone(), manager.clone()];
        others[0].metadata.generation = Some(3);
        others[1].metadata.uid = Some("another".into());
        others[2].status = super::tests::manager(&announced("False")).status;
        for other in others {
            assert_ne!(looked_at(&other), before);
        }
    }

    #[test]
    fn a_deployment_runs_when_its_newest_state_has_a_ready_pod() {
        let deployment = |observed: i64, ready: i64| json!({"metadata": {"generation": 3}, "status": {"observedGeneration": observed, "readyReplicas": ready, "replicas": 1, "updatedReplicas": 1}});
        assert_eq!(Seen::of(&deployment(3, 1)), Seen::Runs);
        assert!(matches!(Seen::of(&deployment(2, 1)), Seen::Updating(_)));
        // The new pod crashes, or waits for a Secret that is not there: the old one is ready.
        let mut rolling = deployment(3, 1);
        rolling["status"]["replicas"] = json!(2);
        assert!(matches!(Seen::of(&rolling), Seen::Updating(_)));
        assert!(matches!(Seen::of(&deployment(3, 0)), Seen::NotReady(_)));
        let refused = json!({"status": {"conditions": [
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"},
        ]}});
        assert_eq!(Seen::of(&refused), Seen::NotReady("exceeded quota".into()));
    }
}
