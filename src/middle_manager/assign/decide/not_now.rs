//! Why something is to be tried again (data only).

use super::provenance::Unfit;

/// It cannot be done for now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotNow(pub String);

/// A payload that is not there as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The API server does not answer, or refuses.
    #[error("{0}")]
    Unavailable(String),
    /// It cannot be run as it is, which the operator says: a chunk is missing, or it is no task.
    #[error("{0}")]
    Deficient(String),
    /// This pod may not read it.
    #[error("{0}")]
    Forbidden(String),
    /// It could be run, and can never be submitted.
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
