//! Which Indexers are proven to be hidden from the overlord (pure).

pub mod checks;
pub mod finding;
pub mod pod;
pub mod pool_status;
pub mod query_servers;
