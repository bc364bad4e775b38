//! What a status keeps of attempts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most attempts that a status keeps.
pub const MOST_RECORDS: usize = 10;

/// An attempt that ended and was followed by another one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptRecord {
    /// Its number, from 1. Example: `1`.
    #[schemars(range(min = 1))]
    pub number: u32,

    /// How it ended, as a reason of `Failed`, or `Suspended`. Example: `OOMKilled`.
    #[schemars(length(max = 128))]
    pub cause: String,

    /// Its memory limit, in bytes as a Kubernetes quantity. Example: `2G`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub memory: Option<String>,

    /// Exit code of the peon's container, where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,

    /// When the peon's container started, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When the attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
}

/// Why the operator stops an attempt: written before it does, so that a verdict on what it did itself is true after
/// any crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// `Cancelled`, `StartDeadline`, `Deadline` or `Suspended`.
    #[schemars(length(max = 128))]
    pub cause: String,

    /// The details, for people.
    #[schemars(length(max = 1024))]
    pub message: String,

    /// When it was decided.
    pub time: Time,
}
