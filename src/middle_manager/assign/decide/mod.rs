//! What becomes of an assignment: the PeonTask that it is stored as, or was submitted for (pure).

pub mod assignment;
pub mod ensure;
pub mod matching;
pub mod not_now;
pub mod provenance;
pub mod requests;
