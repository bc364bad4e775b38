//! Meaning of the API server's answers (pure).

pub mod decode;
pub mod own_writes;
pub mod owned;
pub mod refusal;
pub mod watched_pod;
