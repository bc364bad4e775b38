//! Which PeonTask an assigned task becomes, or was submitted for (pure).

pub mod assignment;
pub mod provenance;
