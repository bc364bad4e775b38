//! Reasons of conditions: documented API (`docs/reasons.md`, `docs/configuration.md`, `docs/middle-manager.md`), never
//! renamed.
//!
//! Each condition has an enum of its reasons, and each enum is generated from a table: the reason's meaning, its name
//! in the API, its condition, and what follows from it. Several names are used under two conditions. For example,
//! `ImagePull` is a reason of `Started` while an image cannot be pulled, and a reason of `Failed` if the image's name
//! is not valid.
//!
//! Code parses a name where it reads it from the API. A name that no enum has was written by a newer version: it is
//! preserved and shown unchanged.

mod cause;
mod indexer_pool;
mod peon_task;
mod peon_template;
mod task_reason;
mod virtual_middle_manager;

pub use cause::Cause;
pub use indexer_pool::{PoolReadiness, QueriesServed};
pub use peon_task::{
    Acceptance, Completion, LogsArchived, Readiness, Recording, RunStart, Suspension, Waiting,
};
pub use peon_template::TemplateReadiness;
pub use task_reason::TaskReason;
pub use virtual_middle_manager::{Announcement, Authentication, ManagerReady, OverlordAnswers, ReadyReason};

/// In the history only, in place of a verdict's reason: the PeonTask was deleted before it had a verdict.
pub const DELETED: &str = "Deleted";

/// A type that can be written as the reason of a condition.
pub trait Reason {
    /// Its name in the API.
    fn name(&self) -> &str;
}

/// Status of the condition that a reason is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The condition is true.
    True,
    /// The condition is false.
    False,
    /// The condition is not known yet.
    Unknown,
}

impl Status {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What follows from a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Another reason follows, with or without intervention.
    Change,
    /// Another reason follows or, if none does for a time, the failure of the task.
    ChangeOrEnd,
    /// Nothing follows: the reason is final.
    End,
    /// On a failed attempt: further attempts up to the cause's budget, whose default this is. Then the reason is final.
    Retry(u32),
    /// As `Retry`, each attempt with more memory: one step up the memory ladder.
    MoreMemory(u32),
    /// On a stopped attempt, never on a task: another attempt when the task is resumed.
    Resume,
}

/// Generates an enum of reasons from a table: the meaning of each reason, its name in the API, its condition with the
/// condition's status, and what follows from it. The condition is the one under which the reason is documented; other
/// conditions may repeat it.
macro_rules! reasons {
    ($(#[$about:meta])* $table:ident {
        $($(#[doc = $meaning:literal])+
        $reason:ident = $name:literal: $condition:ident = $status:ident, $follows:ident $(($budget:literal))?;)+
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $table {
            $($(#[doc = $meaning])+ $reason,)+
        }

        impl $table {
            /// All reasons of the table.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)+];

            /// Its name in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }

            /// The reason with this name; `None` for a name of another condition or of a newer version.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$reason),)+
                    _ => None,
                }
            }

            /// The condition that the reason belongs to, and its status.
            #[must_use]
            pub const fn condition(self) -> (&'static str, $crate::api::reason::Status) {
                match self {
                    $(Self::$reason => (
                        $crate::api::conditions::$condition,
                        $crate::api::reason::Status::$status,
                    ),)+
                }
            }

            /// What follows from it.
            #[must_use]
            pub const fn follows(self) -> $crate::api::reason::Follows {
                match self {
                    $(Self::$reason => $crate::api::reason::Follows::$follows $(($budget))?,)+
                }
            }

            /// Whether only another object, or another attempt, changes it.
            #[must_use]
            pub const fn is_final(self) -> bool {
                use $crate::api::reason::Follows;
                match self.follows() {
                    Follows::End | Follows::Retry(_) | Follows::MoreMemory(_) => true,
                    Follows::Change | Follows::ChangeOrEnd | Follows::Resume => false,
                }
            }

            /// The reason's meaning, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$reason => concat!($($meaning),+).trim(),)+
                }
            }
        }

        impl $crate::api::reason::Reason for $table {
            fn name(&self) -> &str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $table {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $table {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
use reasons;

#[cfg(test)]
mod documentation_tests;
