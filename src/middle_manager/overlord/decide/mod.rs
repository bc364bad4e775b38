//! Meaning of the overlord's refusals (pure).

pub(crate) mod refusal;
