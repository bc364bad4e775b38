//! Counts how often each case was reached.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

/// Counts by group and name.
#[derive(Debug, Clone, Default)]
pub struct Coverage(BTreeMap<&'static str, BTreeMap<String, u64>>);

impl Coverage {
    pub fn count(&mut self, group: &'static str, name: &str) {
        let names = self.0.entry(group).or_default();
        if let Some(count) = names.get_mut(name) {
            *count += 1;
        } else {
            names.insert(name.to_owned(), 1);
        }
    }

    pub fn of(&self, group: &str, name: &str) -> u64 {
        self.0.get(group).and_then(|g| g.get(name)).copied().unwrap_or(0)
    }

    pub fn add(&mut self, other: &Self) {
        for (group, names) in &other.0 {
            let mine = self.0.entry(group).or_default();
            for (name, count) in names {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
    }
}

impl Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (group, names) in &self.0 {
            writeln!(f, "{group}")?;
            for (name, count) in names {
                writeln!(f, "  {count:>9}  {name}")?;
            }
        }
        Ok(())
    }
}
