//! Whether a `VirtualMiddleManager` is served (pure).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::api::conditions::{ANNOUNCED, AUTHENTICATED, Conditions, OVERLORD_ANSWERS, READY, find, is_true};
use crate::api::reason::{Authentication, ManagerReady, ReadyReason};
use crate::api::{VirtualMiddleManager, VirtualMiddleManagerSpec};
use crate::apiserver::classify::decode::Unreadable;
use crate::middle_manager::registry::drain;

/// What is missing in a spec without authentication. The custom resource's validation rule refuses such a spec, but an
/// object may be older than the rule.
#[must_use]
pub fn lacks_authentication(spec: &VirtualMiddleManagerSpec) -> Option<&'static str> {
    (spec.auth_ref.is_none() && !spec.allow_anonymous).then_some(
        "set authRef to a Secret with the username and password of Druid's escalator, or set allowAnonymous: \
         true; until then no workers are started, and an existing Deployment is not changed",
    )
}

/// State of the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The pod is ready.
    Runs,
    /// The pod with the last change is not ready yet; the previous one serves.
    Updating(String),
    /// The pod is not ready, for the reason in the Deployment's status.
    NotReady(String),
    /// A Service has no address.
    NoAddress,
    /// An object could not be created.
    Failed(String),
    /// The spec does not say who may call the workers; the text says what to set.
    NoAuthentication(String),
    /// An object with a needed name belongs to something else.
    Conflict(String),
}

impl Seen {
    /// The state shown by a Deployment.
    #[must_use]
    pub fn of(deployment: &Value) -> Self {
        let status = &deployment["status"];
        let current = status["observedGeneration"] == deployment["metadata"]["generation"];
        let count = |field: &str| status[field].as_u64().unwrap_or_default();
        let is_ready = count("readyReplicas") > 0;
        // The previous pod is deleted when the new one is ready.
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
            let said = said
                .unwrap_or("the pod of the latest change is not ready yet; the previous pod still serves");
            return Self::Updating(said.to_owned());
        }
        Self::NotReady(said.unwrap_or("no pod of the Deployment is ready").to_owned())
    }
}

/// A hash that changes when a pass is needed. The pod writes fast-changing values into the status (slots in use, the
/// last poll, the overlord's answers); no pass depends on them.
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

/// Conditions of an object that cannot be read: deterministic, so that writing them again changes nothing.
#[must_use]
pub fn unreadable(unreadable: &Unreadable, since: Option<&Time>) -> Vec<Condition> {
    let message = format!(
        "this version of the operator cannot decode the VirtualMiddleManager: {}",
        unreadable.error
    );
    let since = since.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let mut conditions = Conditions::from(&[], unreadable.metadata.generation, since);
    conditions.set(READY, false, &ManagerReady::Unreadable, &message);
    conditions.into_list()
}

/// The operator's conditions; `None` if they are unchanged.
#[must_use]
pub fn conditions(manager: &VirtualMiddleManager, seen: &Seen, now: Timestamp) -> Option<Vec<Condition>> {
    let status = manager.status.clone().unwrap_or_default();
    let announced = find(&status.conditions, ANNOUNCED);
    let own = |reason, message: &str| (false, ReadyReason::Own(reason), message.to_owned());
    let (is, reason, message) = match (seen, announced) {
        (Seen::Failed(message), _) => own(ManagerReady::NotCreated, message),
        (Seen::NoAuthentication(message), _) => own(ManagerReady::NoAuthentication, message),
        (Seen::Conflict(message), _) => own(ManagerReady::NameConflict, message),
        (Seen::NoAddress, _) => own(ManagerReady::NoAddress, "a Service has no address yet"),
        (Seen::NotReady(message), _) => own(ManagerReady::NotRunning, message),
        (Seen::Updating(message), _) => own(ManagerReady::Updating, message),
        (Seen::Runs, None) => own(ManagerReady::Starting, "the pod has not reported its status yet"),
        (Seen::Runs, Some(announced)) if is_true(&status.conditions, ANNOUNCED) => {
            let serving = ReadyReason::Own(ManagerReady::Serving);
            (true, serving, announced.message.clone())
        }
        (Seen::Runs, Some(announced)) => {
            let reason = ReadyReason::Announced(announced.reason.clone());
            (false, reason, announced.message.clone())
        }
    };
    let generation = manager.metadata.generation;
    let ours = [READY, AUTHENTICATED].into_iter();
    let ours: Vec<Condition> = ours
        .filter_map(|t| find(&status.conditions, t).cloned())
        .collect();
    let mut next = Conditions::from(&ours, generation, now);
    next.set(READY, is, &reason, &message);
    let (is, reason, message) = authentication(&manager.spec);
    next.set(AUTHENTICATED, is, &reason, message);
    let next = next.into_list();
    (next != ours || status.observed_generation != generation).then_some(next)
}

fn authentication(spec: &VirtualMiddleManagerSpec) -> (bool, Authentication, &'static str) {
    match (lacks_authentication(spec), &spec.auth_ref) {
        (Some(missing), _) => (false, Authentication::NoAuthentication, missing),
        (None, Some(_)) => (
            true,
            Authentication::BasicAuth,
            "clients need the credentials of spec.authRef",
        ),
        (None, None) => (
            false,
            Authentication::AnonymousAllowed,
            "allowAnonymous: every client that reaches the workers' Services or pod can run any task here; \
             a NetworkPolicy must admit the overlord only",
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
            (
                Seen::Runs,
                announced("True"),
                "True",
                ManagerReady::Serving.as_str(),
            ),
            (Seen::Runs, announced("False"), "False", "NotAnnounced"),
            (Seen::Runs, json!([]), "False", ManagerReady::Starting.as_str()),
            (
                Seen::NotReady("x".into()),
                announced("True"),
                "False",
                ManagerReady::NotRunning.as_str(),
            ),
            (
                Seen::NoAddress,
                announced("True"),
                "False",
                ManagerReady::NoAddress.as_str(),
            ),
            (
                Seen::Failed("x".into()),
                announced("True"),
                "False",
                ManagerReady::NotCreated.as_str(),
            ),
            (
                Seen::NoAuthentication("x".into()),
                announced("True"),
                "False",
                ManagerReady::NoAuthentication.as_str(),
            ),
            (
                Seen::Conflict("x".into()),
                announced("True"),
                "False",
                ManagerReady::NameConflict.as_str(),
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
            (true, false, "True", Authentication::BasicAuth.as_str()),
            (false, true, "False", Authentication::AnonymousAllowed.as_str()),
            (false, false, "False", Authentication::NoAuthentication.as_str()),
        ] {
            let mut manager = manager(&announced("True"));
            manager.spec.auth_ref = auth.then(|| SecretRef { name: "s".into() });
            manager.spec.allow_anonymous = anonymous;
            let list = conditions(&manager, &Seen::Runs, Timestamp::UNIX_EPOCH).unwrap();
            let said = find(&list, AUTHENTICATED).unwrap();
            assert_eq!((said.status.as_str(), said.reason.as_str()), (is, reason));
            assert_eq!(
                lacks_authentication(&manager.spec).is_some(),
                reason == Authentication::NoAuthentication.as_str()
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
