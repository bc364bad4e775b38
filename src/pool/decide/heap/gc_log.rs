//! What the garbage collector of an Indexer's JVM says in its log (pure).
//!
//! Read are the lines of `-Xlog:gc` of the collectors G1, Serial and Parallel, such as
//! `[44.746s][gc] GC(4) Pause Full (Allocation Failure) 173M->172M(247M) 331.982ms`. The JVM writes them without the layout of
//! the other lines, so a task that prints such a line cannot be told from the JVM: it can cause no more than what follows from a
//! full heap, that its Indexer gets no further task, or is drained.

use std::collections::VecDeque;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// The JVM option that makes it write them.
pub const OPTION: &str = "-Xlog:gc:stdout:uptime,tags";
/// The share of time that collections take is that of this time.
pub const WINDOW: SignedDuration = SignedDuration::from_secs(10);

/// A collection for which the JVM paused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pause {
    /// Milliseconds since the start of the JVM.
    pub uptime: u64,
    /// What was collected.
    pub kind: Kind,
    /// Bytes of the heap in use after it.
    pub after: u64,
    /// How many microseconds it took.
    pub micros: u64,
}

/// What a pause says of the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What is left of it is live: a full collection, or the end of G1's marking.
    Live,
    /// G1 collected a part of what its marking found.
    Mixed,
    /// Nothing: old garbage was left.
    Other,
}

/// Reads a line of an Indexer's log; `None` if it reports no pause.
#[must_use]
pub fn pause(line: &str) -> Option<Pause> {
    let (uptime, rest) = line.strip_prefix('[')?.split_once("s][")?;
    let (seconds, fraction) = uptime.split_once('.')?;
    let millis = fraction.get(..3).filter(|_| fraction.len() == 3)?;
    let uptime = seconds
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(millis.parse().ok()?)?;
    let (tags, rest) = rest.split_once("] ")?;
    if !tags.trim_end().ends_with("gc") {
        return None;
    }
    let text = rest.strip_prefix("GC(")?.split_once(") Pause ")?.1;
    let kind = if text.starts_with("Full ") || text.starts_with("Remark ") {
        Kind::Live
    } else if text.starts_with("Young (Mixed)") {
        Kind::Mixed
    } else {
        Kind::Other
    };
    let mut words = text.trim_end().rsplit(' ');
    let micros = words.next()?.strip_suffix("ms").and_then(micros)?;
    let (_, after) = words.next()?.split_once("->")?;
    let (after, _) = after.split_once('(')?;
    Some(Pause {
        uptime,
        kind,
        after: bytes(after)?,
        micros,
    })
}

/// `331.982`, as thousandths.
fn micros(millis: &str) -> Option<u64> {
    let (whole, fraction) = millis.split_once('.')?;
    let fraction = fraction.get(..3).filter(|_| fraction.len() == 3)?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(fraction.parse().ok()?)
}

/// `172M`.
fn bytes(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        'B' => 1,
        'K' => 1 << 10,
        'M' => 1 << 20,
        'G' => 1 << 30,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(unit)
}

/// The collections of one JVM.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GcLog {
    /// Those of the last seconds: when they ended, and how many microseconds they took.
    pauses: VecDeque<(Timestamp, u64)>,
    live: Option<Live>,
    /// Of the last one.
    uptime: Option<u64>,
    /// Lines up to this uptime were read before.
    known: Option<u64>,
    /// When the last line was written, and when it was read.
    last: Option<(Timestamp, Timestamp)>,
}

/// What was live on the heap, or nearly so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Bytes.
    pub bytes: u64,
    /// The uptime of the JVM at the end of the collection, in milliseconds.
    pub uptime: u64,
}

/// What the collections say at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// The share of the last ten seconds that collections took.
    pub gc_percent: u8,
    /// What the last full collection left.
    pub live: Option<Live>,
}

impl GcLog {
    /// The log is read again, maybe from before the last line on.
    pub fn again(&mut self) {
        self.known = self.uptime;
    }

    /// Takes a line that was written at one time and read at another, by two clocks. Returns whether it reports a pause that
    /// was not read before.
    pub fn take(&mut self, line: &str, written: Timestamp, read: Timestamp) -> bool {
        let Some(pause) = pause(line) else { return false };
        // Time goes on in a JVM.
        if self.known.is_some_and(|known| pause.uptime <= known)
            || self.uptime.is_some_and(|before| pause.uptime < before)
        {
            return false;
        }
        self.uptime = Some(pause.uptime);
        self.last = Some((written, read));
        self.pauses.push_back((written, pause.micros));
        while self.pauses.front().is_some_and(|(at, _)| *at <= written - WINDOW) {
            self.pauses.pop_front();
        }
        let Pause { uptime, after, .. } = pause;
        match (pause.kind, &mut self.live) {
            (Kind::Live, known) => *known = Some(Live { bytes: after, uptime }),
            (Kind::Mixed, Some(known)) if after < known.bytes => known.bytes = after,
            _ => {}
        }
        true
    }

    /// What the collections say now.
    #[must_use]
    pub fn reading(&self, now: Timestamp) -> Reading {
        let Some((written, read)) = self.last else {
            return Reading::default();
        };
        // What the clock of the node says.
        let now = written + now.duration_since(read).max(SignedDuration::ZERO);
        let recent = self.pauses.iter().filter(|(at, _)| *at > now - WINDOW);
        let micros: u64 = recent.map(|(_, micros)| micros).sum();
        // Ten seconds are a hundred times a hundred milliseconds.
        let percent = u8::try_from(micros / 100_000).unwrap_or(100).min(100);
        Reading {
            gc_percent: percent,
            live: self.live,
        }
    }
}

#[cfg(test)]
#[path = "gc_log_tests.rs"]
mod tests;
