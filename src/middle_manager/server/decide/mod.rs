//! What the process says in the status (pure).

pub mod status;
