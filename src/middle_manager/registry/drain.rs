//! Identities beyond the wanted number, until their tasks have ended (pure).
//!
//! If such an identity were withdrawn at once, no overlord would learn the end of its tasks. So it accepts no more
//! tasks, is served until the last one has ended and the overlord knows, and is then withdrawn.

use crate::api::VirtualMiddleManager;
use crate::api::virtual_middle_manager::{Drain, MOST_IDENTITIES};

/// How many identities are served: the wanted ones, and those beyond that have not drained according to the pod's
/// status.
#[must_use]
pub fn served(manager: &VirtualMiddleManager) -> u16 {
    let wanted = manager.spec.identities;
    let identities = manager.status.iter().flat_map(|status| &status.identities);
    let kept = identities
        .filter(|identity| identity.drain != Some(Drain::Drained))
        .map(|identity| identity.ordinal.saturating_add(1).min(MOST_IDENTITIES))
        .max();
    wanted.max(kept.unwrap_or(0))
}

/// Drain state of an identity, if `wanted` identities are wanted; `None` for one of these. `free`: none of its slots is
/// in use. `told`: an overlord has received all its changes, above all that it is disabled.
#[must_use]
pub fn state(ordinal: u16, wanted: u16, free: bool, told: bool) -> Option<Drain> {
    (ordinal >= wanted).then_some(if free && told {
        Drain::Drained
    } else {
        Drain::Draining
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn manager(identities: u16, drains: &[Value]) -> VirtualMiddleManager {
        let identity = |(ordinal, drain): (usize, &Value)| {
            json!({
                "ordinal": ordinal, "address": "a", "announced": true, "disabled": false, "used": 0, "drain": drain,
            })
        };
        let identities_now: Vec<Value> = drains.iter().enumerate().map(identity).collect();
        serde_json::from_value(json!({
            "apiVersion": "peon.dev/v1alpha1", "kind": "VirtualMiddleManager", "metadata": {"name": "ingestion"},
            "spec": {
                "discovery": {"zookeeper": {"hosts": "z:2181"}}, "overlord": {"url": "http://o:8090"},
                "identities": identities,
            },
            "status": {"identities": identities_now},
        }))
        .unwrap()
    }

    #[test]
    fn an_identity_is_served_until_its_pod_says_that_it_has_drained() {
        let (stays, draining, drained) = (json!(null), json!("Draining"), json!("Drained"));
        let cases: [(u16, &[&Value], u16); 9] = [
            (2, &[], 2),
            (3, &[&stays, &stays], 3),
            // The pod has not seen yet that it is to go.
            (1, &[&stays, &stays, &stays], 3),
            (1, &[&stays, &draining], 2),
            (1, &[&stays, &drained], 1),
            (1, &[&stays, &drained, &draining], 3),
            (1, &[&stays, &draining, &drained], 2),
            // It is wanted again.
            (3, &[&stays, &drained, &drained], 3),
            (1, &[&drained], 1),
        ];
        for (wanted, drains, expected) in cases {
            let drains: Vec<Value> = drains.iter().map(|d| (*d).clone()).collect();
            assert_eq!(served(&manager(wanted, &drains)), expected, "{wanted} {drains:?}");
        }
        let mut reversed = manager(1, &[stays.clone(), draining]);
        reversed.status.as_mut().unwrap().identities.reverse();
        assert_eq!(served(&reversed), 2, "the ordinal counts, not the position");
        let many = vec![stays; 100];
        assert_eq!(
            served(&manager(1, &many)),
            MOST_IDENTITIES,
            "nobody asks for more than there may be"
        );
    }

    #[test]
    fn an_identity_has_drained_when_it_is_free_and_the_overlord_knows_all() {
        assert_eq!(state(0, 1, true, true), None);
        assert_eq!(state(1, 1, true, true), Some(Drain::Drained));
        assert_eq!(state(1, 1, false, true), Some(Drain::Draining));
        assert_eq!(
            state(1, 1, true, false),
            Some(Drain::Draining),
            "it may be about to assign a task"
        );
    }
}
