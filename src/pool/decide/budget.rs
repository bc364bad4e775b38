//! The `PodDisruptionBudget` of a pool (pure).

use std::time::Duration;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use crate::api::{IndexerPool, LABEL_MANAGED_BY, LABEL_POOL, OPERATOR, names};

/// After this time it is written again: somebody may have deleted it.
const AGAIN: Duration = Duration::from_secs(600);

/// What a pass did about the budget, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Whether it is to be there.
    pub wanted: bool,
    /// When it was written.
    pub at: Timestamp,
}

/// Whether a pool is to have a budget, if something is to be done about that now. With a budget an idle Indexer on a
/// cordoned node has to be deleted by the operator, so there is none where the operator may not watch nodes, and nothing
/// is decided before it knows them.
#[must_use]
pub fn due(
    pool: &IndexerPool,
    knows_nodes: Option<bool>,
    done: Option<Done>,
    now: Timestamp,
) -> Option<bool> {
    let disruption = pool.spec.disruption.as_ref();
    let asked = disruption.is_none_or(|d| d.block_while_busy != Some(false));
    let wanted = asked && knows_nodes?;
    let is_fresh = |done: Done| {
        let age = Duration::try_from(now.duration_since(done.at)).unwrap_or_default();
        done.wanted == wanted && age < AGAIN
    };
    (!done.is_some_and(is_fresh)).then_some(wanted)
}

/// Name of the budget.
#[must_use]
pub fn name(pool: &IndexerPool) -> String {
    format!("{}-indexers", pool.name_any())
}

/// A budget that allows no eviction of an Indexer, whatever their number. It must be a number: for a share, Kubernetes
/// looks for a controller with a scale
/// (<https://kubernetes.io/docs/tasks/run-application/configure-pdb/#arbitrary-controllers-and-selectors>).
#[must_use]
pub fn of(pool: &IndexerPool) -> PodDisruptionBudget {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let pool_label = label(LABEL_POOL, &names::label_value(&pool.name_any()));
    PodDisruptionBudget {
        metadata: ObjectMeta {
            name: Some(name(pool)),
            namespace: pool.namespace(),
            labels: Some([label(LABEL_MANAGED_BY, OPERATOR), pool_label.clone()].into()),
            owner_references: pool.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(i32::MAX)),
            selector: Some(LabelSelector {
                match_labels: Some([label(LABEL_MANAGED_BY, OPERATOR), pool_label].into()),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pool::fixtures::{POOL_UID, at, pool};

    #[test]
    fn it_is_written_once_and_again_when_it_may_be_gone() {
        let wanted = pool(json!({}));
        let unwanted = pool(json!({"disruption": {"blockWhileBusy": false}}));
        let done = |wanted, second| {
            let at = at(second);
            Some(Done { wanted, at })
        };
        assert_eq!(due(&wanted, Some(true), None, at(0)), Some(true));
        assert_eq!(due(&wanted, Some(true), done(true, 0), at(599)), None);
        assert_eq!(due(&wanted, Some(true), done(true, 0), at(600)), Some(true));
        assert_eq!(due(&wanted, Some(false), done(true, 0), at(1)), Some(false));
        assert_eq!(due(&unwanted, Some(true), done(true, 0), at(1)), Some(false));
        assert_eq!(due(&unwanted, Some(true), done(false, 0), at(1)), None);
        // A new process does not know the nodes yet.
        assert_eq!(due(&wanted, None, None, at(0)), None);
        assert_eq!(due(&unwanted, None, None, at(0)), Some(false));
    }

    #[test]
    fn it_is_of_the_indexers_of_one_pool_and_goes_with_the_pool() {
        let budget: Value = serde_json::to_value(of(&pool(json!({})))).unwrap();
        assert_eq!(budget["metadata"]["name"], "warm-indexers");
        assert_eq!(budget["metadata"]["ownerReferences"][0]["uid"], POOL_UID);
        let labels = &budget["spec"]["selector"]["matchLabels"];
        assert_eq!(*labels, json!({LABEL_POOL: "warm", LABEL_MANAGED_BY: OPERATOR}));
        assert_eq!(budget["spec"]["minAvailable"], i32::MAX);
    }
}
