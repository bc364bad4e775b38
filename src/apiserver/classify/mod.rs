//! Meaning of the API server's answers (pure).

pub mod decode;

pub mod own_writes;
pub mod owned;
mod pod_parts;
pub mod refusal;
