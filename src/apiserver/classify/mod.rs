//! What answers of the API server mean (pure).

pub mod decode;

pub mod own_writes;
pub mod owned;
pub mod refusal;
