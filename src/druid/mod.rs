//! Knowledge about Druid alone. Nothing here depends on Kubernetes.

pub mod discovery;
pub mod error_body;
pub mod fields;
pub mod human_readable;
pub mod indexer_announcement;
pub mod indexer_ports;
pub mod ingestion_memory;
pub mod java_options;
pub mod out_of_memory;
pub mod payload;
pub mod peon_options;
pub mod properties;
pub mod query_server;
pub mod rows_in_memory;
pub mod smile;
pub mod task_id;
pub mod task_options;
pub mod task_status;
pub mod worker;
