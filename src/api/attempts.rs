//! Records of attempts in a PeonTask's status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most attempts recorded in a status.
pub const MOST_RECORDS: usize = 10;

/// A record of an attempt that ended and was followed by another one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptRecord {
    /// Number of the attempt, from 1. Example: `1`.
    #[schemars(range(min = 1))]
    pub number: u32,

    /// How the attempt ended: a reason of `Failed`, or `Suspended`. Example: `OOMKilled`.
    #[schemars(length(max = 128))]
    pub cause: String,

    /// Memory limit of the attempt, in bytes as a Kubernetes quantity. Example: `2G`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub memory: Option<String>,

    /// Exit code of the peon's container; absent where the container never ran. Example: `137`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,

    /// When the peon's container started, or the task in an Indexer; absent where it never started. Example:
    /// `2026-11-21T08:00:12Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When the attempt ended. Example: `2026-11-21T08:09:41Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
}

/// Why the operator stops an attempt. Written before the operator stops it, so that the verdict is right even after a
/// crash in between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// Cause of the stop: `Cancelled`, `StartDeadline`, `Deadline` or `Suspended`; for a run in an Indexer also the cause
    /// of its end, which is recorded before the Indexer's pod is deleted. Example: `Cancelled`.
    #[schemars(length(max = 128))]
    pub cause: String,

    /// Details in words. Example: `spec.cancel is true`.
    #[schemars(length(max = 1024))]
    pub message: String,

    /// When the operator decided to stop the attempt. Example: `2026-11-21T08:05:00Z`.
    pub time: Time,
}
