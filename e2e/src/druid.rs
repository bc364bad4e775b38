//! A real Druid in the cluster.
