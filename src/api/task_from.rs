//! `taskFrom`: a payload in ConfigMaps or Secrets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A payload in chunks, for tasks of up to 16 MiB and for tasks that contain secrets. The chunks are entries of
/// ConfigMaps or of Secrets of the same namespace; their concatenated bytes are the payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskFrom {
    /// SHA-256 of the payload as JSON, before compression: 64 lower-case hexadecimal digits. A payload that does not
    /// match it is never run. No default. Example: `9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`.
    #[schemars(length(min = 64, max = 64), regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: String,

    /// Whether the concatenated chunks are gzip. Default: false. Example: `true`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gzip: bool,

    /// The chunks in ConfigMaps (`binaryData` or `data`), in order. Default: none. Example:
    /// `[{name: nightly.payload.0, key: chunk}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub config_maps: Vec<Chunk>,

    /// The chunks in Secrets, in order. Default: none. Example: `[{name: nightly-payload, key: task}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub secrets: Vec<Chunk>,
}

/// One entry of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chunk {
    /// Name of the ConfigMap or Secret of the same namespace. No default. Example: `nightly.payload.0`.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,

    /// Key of the entry. No default. Example: `chunk`.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}
