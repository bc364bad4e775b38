//! Reasons of conditions: documented API (`docs/reasons.md`, `docs/middle-manager.md`), never renamed.
//!
//! Each condition has an enum of its reasons, and each enum is a table: what the reason means, its name in the API, the
//! condition that it is a reason of, and what follows from it. Several names stand under two conditions: an image that
//! cannot be pulled is waited for (`Started`), one whose name is not valid has failed (`Failed`), and both are
//! `ImagePull`.
//!
//! A name from the API is parsed where it is read. One that no enum has was written by a newer version: it is kept, and
//! shown as it is.

mod cause;
mod peon_task;
mod task_reason;
mod virtual_middle_manager;

pub use cause::Cause;
pub use peon_task::{
    Acceptance, Completion, LogsArchived, Readiness, Recording, RunStart, Suspension, Waiting,
};
pub use task_reason::TaskReason;
pub use virtual_middle_manager::{Announcement, Authentication, ManagerReady, OverlordAnswers, ReadyReason};

/// In the history only, in the place of a verdict's reason: the PeonTask was deleted before it had one.
pub const DELETED: &str = "Deleted";

/// What may stand in the reason of a condition.
pub trait Reason {
    /// Its name in the API.
    fn name(&self) -> &str;
}

/// Status of the condition that a reason is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known yet.
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
    /// Another reason: by itself, or when somebody acts.
    Change,
    /// Another reason; or the failure of the task, when that has not come for a time.
    ChangeOrEnd,
    /// Nothing: it is final.
    End,
    /// Of a failed attempt: as many others as its budget allows, which is this one by default. Then it is final.
    Retry(u32),
    /// As `Retry`, and each with more memory, one step up the memory ladder.
    MoreMemory(u32),
    /// Of a stopped attempt, never of a task: another one when the task is resumed.
    Resume,
}

/// An enum of reasons from a table of them: what each means, its name in the API, its condition with the status of that,
/// and what follows from it. The condition is the one under which it is documented; others repeat it.
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
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)+];

            /// Its name in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }

            /// The reason of this name; `None` for one of another condition or of a newer version.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$reason),)+
                    _ => None,
                }
            }

            /// The condition that it is a reason of.
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

            /// Whether nothing but another object, or another attempt, changes it.
            #[must_use]
            pub const fn is_final(self) -> bool {
                use $crate::api::reason::Follows;
                match self.follows() {
                    Follows::End | Follows::Retry(_) | Follows::MoreMemory(_) => true,
                    Follows::Change | Follows::ChangeOrEnd | Follows::Resume => false,
                }
            }

            /// What it means, in a sentence.
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
