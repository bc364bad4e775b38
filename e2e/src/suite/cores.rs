//! How much of the machine's cores was left: where much was, more could run beside each other.

use std::fs;

/// Time of all cores since the machine started, in ticks of the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cores {
    idle: u64,
    /// Of processes with the lowest priority, such as the random histories that only compute.
    nice: u64,
    all: u64,
}

impl Cores {
    /// As the kernel counts them now; nothing where the system has no such file.
    pub(super) fn now() -> Self {
        Self::read(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// Reads the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
    fn read(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        let at = |place: usize| ticks.get(place).copied().unwrap_or_default();
        Self {
            idle: at(3) + at(4),
            nice: at(1),
            all: ticks.iter().sum(),
        }
    }

    /// Percent that was idle since then, and that what has the lowest priority took.
    pub(super) fn since(self, then: Self) -> (u64, u64) {
        let part = |of: fn(Self) -> u64| {
            let all = self.all.saturating_sub(then.all).max(1);
            of(self).saturating_sub(of(then)) * 100 / all
        };
        (part(|cores| cores.idle), part(|cores| cores.nice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_of_what_went_by() {
        let then = Cores::read("cpu  100 10 50 800 40 0 0 0 7 7\ncpu0 1 1 1 1\n");
        assert_eq!((then.idle, then.nice, then.all), (840, 10, 1000));
        let now = Cores::read("cpu  150 20 80 900 50 0 0 0 9 9");
        assert_eq!(now.since(then), (55, 5));
        assert_eq!(Cores::read(""), Cores::default());
        assert_eq!(then.since(then), (0, 0));
    }
}
