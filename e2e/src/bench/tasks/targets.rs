//! What is wanted of tasks in a pool, beside what was measured (pure).

use std::fmt::Write as _;

/// Times the rate of Jobs, or this share of the rate of a bare client, whichever is less.
const TIMES_JOBS: f64 = 3.0;
const SHARE_OF_FLOOR: f64 = 0.9;
/// Most writes of the operator for a task.
const WRITES: f64 = 3.0;
/// Writes of the pool itself, beside those of its tasks.
const OF_THE_POOL: f64 = 0.05;

/// What was measured: tasks a second, and writes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    pub(super) pool: Option<f64>,
    pub(super) jobs: Option<f64>,
    /// A bare client that creates PeonTasks and patches their statuses three times.
    pub(super) floor: Option<f64>,
    pub(super) writes: Option<f64>,
}

impl Rates {
    /// The least rate that is wanted, as far as what it is compared with was measured.
    pub(super) fn wanted(&self) -> Option<f64> {
        let of_jobs = self.jobs.map(|rate| rate * TIMES_JOBS);
        let of_floor = self.floor.map(|rate| rate * SHARE_OF_FLOOR);
        match (of_jobs, of_floor) {
            (Some(of_jobs), Some(of_floor)) => Some(of_jobs.min(of_floor)),
            (of_jobs, of_floor) => of_jobs.or(of_floor),
        }
    }

    /// For people; empty without tasks in a pool.
    pub(super) fn table(&self, pool: &str) -> String {
        let mut table = String::new();
        let Some(rate) = self.pool else { return table };
        let _ = writeln!(table, "\nTasks in a pool: {pool}");
        if let Some(wanted) = self.wanted() {
            let reached = said(rate >= wanted);
            let _ = write!(
                table,
                "  {rate:.1} a second, wanted: {wanted:.1} ({reached}), the lesser of"
            );
            let compared = [
                (TIMES_JOBS, "times Jobs", self.jobs),
                (SHARE_OF_FLOOR, "of the floor without pods", self.floor),
            ];
            let compared = compared.map(|(factor, of, rate)| match rate {
                Some(rate) => format!("{factor} {of} = {:.1}", rate * factor),
                None => format!("{factor} {of}, not measured"),
            });
            let _ = writeln!(table, " {}", compared.join(" and "));
        }
        if let Some(writes) = self.writes {
            let reached = said(writes <= WRITES + OF_THE_POOL);
            let _ = writeln!(
                table,
                "  {writes:.2} writes of the operator a task, wanted: at most {WRITES} ({reached})"
            );
        }
        table
    }
}

fn said(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "not reached" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesser_of_both_rates_is_wanted() {
        let rates = |pool: f64, jobs, floor| Rates {
            pool: Some(pool),
            jobs,
            floor,
            writes: Some(3.01),
        };
        let wanted = |jobs, floor| rates(1.0, jobs, floor).wanted().map(f64::round);
        assert_eq!(wanted(Some(30.0), Some(80.0)), Some(72.0));
        assert_eq!(wanted(Some(20.0), Some(80.0)), Some(60.0));
        assert_eq!(wanted(None, Some(80.0)), Some(72.0));
        assert_eq!(wanted(None, None), None);
        let table = rates(65.0, Some(20.0), Some(80.0)).table("2 Indexers");
        assert!(table.contains("65.0 a second, wanted: 60.0 (reached)"), "{table}");
        assert!(
            table.contains("3 times Jobs = 60.0 and 0.9 of the floor without pods = 72.0"),
            "{table}"
        );
        assert!(table.contains("3.01 writes of the operator a task, wanted: at most 3 (reached)"));
        let table = rates(59.0, Some(20.0), None).table("2 Indexers");
        assert!(
            table.contains("(not reached)") && table.contains("not measured"),
            "{table}"
        );
        assert_eq!(Rates::default().table(""), "");
    }
}
