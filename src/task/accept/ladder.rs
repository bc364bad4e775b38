//! The memory ladder: how the memory limit grows after an attempt ran out of memory (pure).

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::MemoryLadder;
use crate::quantity::{self, MIB};

/// Default factor from one limit to the next, in percent.
const FACTOR_PERCENT: u32 = 150;
/// Default cap, as a multiple of the first limit.
const CAP_FACTOR: u128 = 4;

/// The memory limit of step `step` above a first limit of `first`; step 0 is the first limit as written. Each step is
/// the previous one times the factor, rounded up to whole MiB, and at most the cap: the policy's `max`, else four times
/// the first limit, and in any case the template's `overrides.maxMemory`. A cap below the first limit does not lower
/// it.
///
/// # Errors
/// A quantity that cannot be read.
pub fn limit(
    first: &str,
    step: u32,
    policy: &MemoryLadder,
    template_max: Option<&Quantity>,
) -> Result<String, String> {
    let climbed = Climb::new(first, policy, template_max)?.at(step);
    Ok(climbed.map_or_else(|| first.to_owned(), |mib| format!("{mib}Mi")))
}

/// The next step above `step` whose limit is more than `had`, which an attempt ran out of: an Indexer of a pool may have
/// more than the limit of its task's step. None if no step has more, or for a quantity that cannot be read.
#[must_use]
pub fn next(
    first: &str,
    step: u32,
    had: Option<&str>,
    policy: &MemoryLadder,
    template_max: Option<&Quantity>,
) -> Option<u32> {
    let climb = Climb::new(first, policy, template_max).ok()?;
    let had = had.map_or(Ok(0), quantity::parse).ok()?;
    let mut step = step;
    loop {
        let below = climb.at(step);
        step = step.checked_add(1)?;
        let limit = climb.at(step).filter(|limit| Some(*limit) > below)?;
        if limit * u128::from(MIB) > u128::from(had) {
            return Some(step);
        }
    }
}

/// The ratio of a limit to the first one: all parts of the limit grow by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    from: u64,
    to: u64,
}

impl Growth {
    /// The growth from the first limit to the current one.
    ///
    /// # Errors
    /// A quantity that cannot be read.
    pub fn between(first: &str, now: &str) -> Result<Self, String> {
        Ok(Self {
            from: quantity::parse(first)?.max(1),
            to: quantity::parse(now)?.max(1),
        })
    }

    /// Scales a part of the first limit to the current one. Rounded down, so that parts which fitted still fit.
    #[must_use]
    pub fn apply(self, bytes: u64) -> u64 {
        let grown = u128::from(bytes) * u128::from(self.to) / u128::from(self.from);
        u64::try_from(grown).unwrap_or(u64::MAX)
    }
}

/// A ladder in numbers.
struct Climb {
    first: u128,
    cap_mib: u128,
    factor: u128,
}

impl Climb {
    fn new(first: &str, policy: &MemoryLadder, template_max: Option<&Quantity>) -> Result<Self, String> {
        let first = u128::from(quantity::parse(first)?);
        let bytes = |max: &Quantity, name: &str| {
            quantity::parse(&max.0)
                .map(u128::from)
                .map_err(|e| format!("{name}: {e}"))
        };
        let policy_max = policy
            .max
            .as_ref()
            .map(|max| bytes(max, "retry.memory.max"))
            .transpose()?;
        let template_max = template_max
            .map(|max| bytes(max, "overrides.maxMemory"))
            .transpose()?;
        let cap = policy_max.unwrap_or(first * CAP_FACTOR);
        Ok(Self {
            first,
            cap_mib: template_max.map_or(cap, |max| max.min(cap)) / u128::from(MIB),
            factor: u128::from(policy.factor_percent.unwrap_or(FACTOR_PERCENT).max(101)),
        })
    }

    /// The limit of a step in MiB; `None` for the first one, which need not be whole MiB.
    fn at(&self, step: u32) -> Option<u128> {
        let mib = u128::from(MIB);
        if self.cap_mib * mib <= self.first {
            return None;
        }
        let mut bytes = self.first;
        for _ in 0..step {
            // Rounding every step makes each at least 1 MiB larger than the one before.
            bytes = (bytes * self.factor).div_ceil(100).next_multiple_of(mib);
            if bytes >= self.cap_mib * mib {
                return Some(self.cap_mib);
            }
        }
        (step > 0).then_some(bytes / mib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(factor: Option<u32>, max: Option<&str>) -> MemoryLadder {
        MemoryLadder {
            factor_percent: factor,
            max: max.map(|m| Quantity(m.into())),
        }
    }

    fn steps(first: &str, policy: &MemoryLadder, template_max: Option<&str>) -> Vec<String> {
        let max = template_max.map(|m| Quantity(m.into()));
        (0..6)
            .map(|step| limit(first, step, policy, max.as_ref()).unwrap())
            .collect()
    }

    #[test]
    fn by_default_each_step_is_half_more_up_to_four_times_the_first() {
        assert_eq!(
            steps("1Gi", &policy(None, None), None),
            ["1Gi", "1536Mi", "2304Mi", "3456Mi", "4096Mi", "4096Mi"]
        );
        assert_eq!(steps("2G", &policy(None, None), None)[..2], ["2G", "2862Mi"]);
    }

    #[test]
    fn the_lower_of_both_caps_holds() {
        let doubling = policy(Some(200), Some("3Gi"));
        assert_eq!(
            steps("1Gi", &doubling, None)[1..4],
            ["2048Mi", "3072Mi", "3072Mi"]
        );
        assert_eq!(steps("1Gi", &doubling, Some("1500M"))[1..3], ["1430Mi", "1430Mi"]);
        assert_eq!(steps("1Gi", &policy(Some(200), None), Some("64Gi"))[3], "4096Mi");
    }

    #[test]
    fn a_cap_below_the_first_limit_keeps_the_first() {
        assert_eq!(steps("2G", &policy(None, Some("1Gi")), None), ["2G"; 6]);
        assert_eq!(next("2G", 0, None, &policy(None, Some("1Gi")), None), None);
    }

    #[test]
    fn nothing_climbs_past_the_cap() {
        let ladder = policy(None, None);
        let next = |step| next("1Gi", step, None, &ladder, None);
        assert_eq!(
            [0, 1, 2, 3, 4].map(next),
            [Some(1), Some(2), Some(3), Some(4), None]
        );
    }

    #[test]
    fn an_attempt_in_a_larger_indexer_is_followed_by_one_with_still_more() {
        let after = |step, had| next("1Gi", step, Some(had), &policy(None, None), None);
        assert_eq!(after(0, "1Gi"), Some(1));
        assert_eq!(after(0, "1536Mi"), Some(2));
        assert_eq!(after(0, "2Gi"), Some(2));
        assert_eq!(after(2, "3Gi"), Some(3));
        // The largest that the ladder allows is not more.
        assert_eq!(after(0, "4Gi"), None);
        assert_eq!(after(0, "much"), None);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = limit("1Gi", 1, &policy(None, Some("much")), None).unwrap_err();
        assert!(error.starts_with("retry.memory.max"), "{error}");
        assert!(limit("1GB", 0, &policy(None, None), None).is_err());
        assert_eq!(next("1GB", 0, None, &policy(None, None), None), None);
    }

    fn bytes(limit: &str) -> u64 {
        quantity::parse(limit).unwrap()
    }

    proptest! {
        #[test]
        fn it_climbs_until_the_cap_and_never_above(
            first in 1_u64..1 << 40,
            factor in proptest::option::of(101_u32..=1000),
            max in proptest::option::of(1_u64..1 << 42),
            template_max in proptest::option::of(1_u64..1 << 42),
            step in 0_u32..200,
            had in 1_u64..1 << 42,
        ) {
            let written = first.to_string();
            let policy = policy(factor, max.map(|m| m.to_string()).as_deref());
            let template_max_quantity = template_max.map(|m| Quantity(m.to_string()));
            let at = |step| limit(&written, step, &policy, template_max_quantity.as_ref()).unwrap();
            prop_assert_eq!(at(0), written.clone());
            let (now, above) = (bytes(&at(step)), bytes(&at(step + 1)));
            let climbs = next(&written, step, None, &policy, template_max_quantity.as_ref());
            prop_assert_eq!((above > now).then_some(step + 1), climbs, "{} {}", now, above);
            prop_assert!(above >= now);
            let had = had.to_string();
            if let Some(step) = next(&written, step, Some(&had), &policy, template_max_quantity.as_ref()) {
                prop_assert!(bytes(&at(step)) > bytes(&had));
            }
            let cap = max.unwrap_or(first * 4).min(template_max.unwrap_or(u64::MAX));
            prop_assert!(now <= cap.max(first));
        }
    }
}
