//! Progress lines with elapsed seconds, so that nothing slow is silent.

use std::{fmt::Display, time::Instant};

/// Prints what happens, with the seconds since the start in front.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    started: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Progress {
    /// One line.
    pub fn say(&self, line: impl Display) {
        eprintln!("[{:6.1} s] {line}", self.started.elapsed().as_secs_f64());
    }

    /// Begins something quick: only its end is printed.
    pub fn step(&self, name: impl Into<String>) -> Step {
        Step {
            progress: *self,
            name: name.into(),
            started: Instant::now(),
        }
    }

    /// Begins something slow: its beginning is printed too, with what it does and how long it may take.
    pub fn slow_step(&self, name: impl Into<String>, note: impl Display) -> Step {
        let step = self.step(name);
        self.say(format_args!("{} … {note}", step.name));
        step
    }
}

/// Something under way.
#[derive(Debug)]
#[must_use = "say how it ended"]
pub struct Step {
    progress: Progress,
    name: String,
    started: Instant,
}

impl Step {
    /// Ends it with a word on the outcome, such as `ready`.
    pub fn done(self, outcome: impl Display) {
        let took = self.started.elapsed().as_secs_f64();
        self.progress
            .say(format_args!("{} … {outcome} ({took:.1} s)", self.name));
    }
}
