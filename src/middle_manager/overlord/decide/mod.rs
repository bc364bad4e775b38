//! What refusals of the overlord mean (pure).

pub(crate) mod refusal;
