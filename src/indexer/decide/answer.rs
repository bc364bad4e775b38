//! Answers to a poll: whether they can be used (pure).
//!
//! Druid's `ChangeRequestHistory` numbers the changes of one JVM from 0. Every number has a hash of its own, the time
//! in milliseconds at which the change was made, and a poll names both of the last change that it knows. So a JVM that
//! has another history cannot answer with changes: it answers with a reset. An answer with changes has exactly as many
//! as its number is greater than the one that was asked with.

use crate::druid::worker::{Answer, Change, Counter, TaskAnnouncement};

/// Most items of one answer. An Indexer lists finished tasks for up to six minutes, at a thousand a minute.
pub const MOST_ITEMS: usize = 8192;
/// Longest id, name or host in bytes: Druid's ids have at most 255.
const LONGEST_NAME: usize = 1024;
/// Longest error message in bytes. Druid shortens them to 1,024 characters.
const LONGEST_ERROR: usize = 8 << 10;

/// Why an answer is not used. The same question is asked again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// A reset in answer to a request for everything.
    #[error("it asks for a request for everything, and got one")]
    ResetOfEverything,
    /// Neither changes nor a reset.
    #[error("it has no counter or no list")]
    Incomplete,
    /// The number of the last change is negative.
    #[error("its counter is {0}")]
    Negative(i64),
    /// An earlier place in the history than asked for.
    #[error("its counter went back from {asked} to {answered}")]
    WentBack {
        /// What was asked with.
        asked: i64,
        /// What was answered.
        answered: i64,
    },
    /// The same number with another hash.
    #[error("it has another hash for the same counter {0}")]
    OtherHash(i64),
    /// More or fewer changes than the numbers say: some are missing, or come twice.
    #[error("it has {changes} changes where the counters differ by {counted}")]
    Miscounted {
        /// How many there are.
        changes: usize,
        /// How many there should be.
        counted: i64,
    },
    /// More than [`MOST_ITEMS`].
    #[error("it has {0} items, more than {MOST_ITEMS}")]
    TooMany(usize),
    /// An id, a name or a message beyond all bounds.
    #[error("one of its values is too long")]
    TooLong,
    /// The two ids of an announcement, or its two states, differ.
    #[error("an announcement contradicts itself")]
    Contradiction,
}

/// An answer that can be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Usable<'a> {
    /// Ask for everything, and why.
    Reset(&'a str),
    /// Everything, up to this place in the history.
    Full(Counter, &'a [Change]),
    /// What has changed since the place that was asked with, up to this one.
    Changes(Counter, &'a [Change]),
}

/// Checks the answer to a request for what has changed since `asked`, or for everything if that is `None`.
///
/// # Errors
/// [`Nonsense`].
pub fn check(asked: Option<Counter>, answer: &Answer) -> Result<Usable<'_>, Nonsense> {
    if answer.reset_counter {
        let cause = answer.reset_cause.as_deref().unwrap_or_default();
        return match asked {
            None => Err(Nonsense::ResetOfEverything),
            Some(_) if cause.len() > LONGEST_ERROR => Err(Nonsense::TooLong),
            Some(_) => Ok(Usable::Reset(cause)),
        };
    }
    let (Some(counter), Some(changes)) = (answer.counter, answer.requests.as_deref()) else {
        return Err(Nonsense::Incomplete);
    };
    if counter.counter < 0 {
        return Err(Nonsense::Negative(counter.counter));
    }
    if changes.len() > MOST_ITEMS {
        return Err(Nonsense::TooMany(changes.len()));
    }
    changes.iter().try_for_each(check_change)?;
    let Some(asked) = asked else {
        return Ok(Usable::Full(counter, changes));
    };
    let ahead = counter.counter.saturating_sub(asked.counter);
    if ahead < 0 {
        return Err(Nonsense::WentBack {
            asked: asked.counter,
            answered: counter.counter,
        });
    }
    if ahead == 0 && counter.hash != asked.hash {
        return Err(Nonsense::OtherHash(counter.counter));
    }
    if usize::try_from(ahead) != Ok(changes.len()) {
        return Err(Nonsense::Miscounted {
            changes: changes.len(),
            counted: ahead,
        });
    }
    Ok(Usable::Changes(counter, changes))
}

fn check_change(change: &Change) -> Result<(), Nonsense> {
    match change {
        Change::Metadata { .. } => Ok(()),
        Change::TaskRemoval { task_id } => within(task_id, LONGEST_NAME),
        Change::TaskUpdate { task_announcement } => check_announcement(task_announcement),
    }
}

fn check_announcement(task: &TaskAnnouncement) -> Result<(), Nonsense> {
    if task.id != task.task_status.id || task.status != task.task_status.status {
        return Err(Nonsense::Contradiction);
    }
    let locations = [&task.task_location, &task.task_status.location];
    let hosts = locations
        .iter()
        .flat_map(|l| [&l.host, &l.k8s_pod_name])
        .flatten();
    [&task.id, &task.task_type, &task.task_data_source]
        .into_iter()
        .chain([&task.task_resource.availability_group])
        .chain(hosts)
        .try_for_each(|name| within(name, LONGEST_NAME))?;
    let error = task.task_status.error_msg.as_deref();
    within(error.unwrap_or_default(), LONGEST_ERROR)
}

fn within(text: &str, longest: usize) -> Result<(), Nonsense> {
    (text.len() <= longest).then_some(()).ok_or(Nonsense::TooLong)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
