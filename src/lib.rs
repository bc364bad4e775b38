//! Runs Apache Druid ingestion tasks as Kubernetes pods.
