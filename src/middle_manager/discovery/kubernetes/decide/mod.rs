//! What is written on the pods that carry announcements (pure).

pub mod pods;
pub mod step;
