//! Why something has to be tried again (data only).

use super::provenance::Unfit;

/// Temporarily not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotNow(pub String);

/// Why a payload cannot be submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The API server does not answer, or refuses.
    #[error("{0}")]
    Unavailable(String),
    /// The payload cannot run, which the operator reports: a chunk is missing, or it is not a task.
    #[error("{0}")]
    Deficient(String),
    /// This pod may not read it.
    #[error("{0}")]
    Forbidden(String),
    /// The payload can run but can never be submitted.
    #[error("{0}")]
    Unfit(String),
}

impl From<Unfit> for Unread {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Invalid(invalid) => Self::Deficient(invalid.to_string()),
            Unfit::Reserved => Self::Unfit(unfit.to_string()),
        }
    }
}
