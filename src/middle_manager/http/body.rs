//! Bodies of requests and answers of the worker protocol: Smile or JSON, compressed or not.

use std::io::Write;

use axum::http::{HeaderMap, HeaderValue, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::druid::fields::{Fields, Unreadable};
use crate::druid::smile::{self, SmileError};
use crate::druid::worker::Answer;
use crate::middle_manager::registry::identity::Assigned;

const SMILE: &str = "application/x-jackson-smile";
const JSON: &str = "application/json";
/// Answers below this size, in bytes, are not compressed: it would gain nothing.
const WORTH_PACKING: usize = 256;

/// The two formats of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Smile,
    Json,
}

impl Format {
    /// The format of an answer. As with a real worker, only one exact `Accept` value requests Smile.
    pub(crate) fn of_answer(request: &HeaderMap) -> Self {
        match request.get(header::ACCEPT) {
            Some(accept) if accept == SMILE => Self::Smile,
            _ => Self::Json,
        }
    }

    /// The format of a request body; `None` for any other format.
    pub(crate) fn of_body(request: &HeaderMap) -> Option<Self> {
        let content_type = request.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(SMILE) {
            Some(Self::Smile)
        } else if media_type.eq_ignore_ascii_case(JSON) {
            Some(Self::Json)
        } else {
            None
        }
    }

    pub(crate) fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Smile => SMILE,
            Self::Json => JSON,
        })
    }
}

/// Why an assignment cannot be read. The message contains nothing of it: it may be secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidAssignment {
    #[error("the task cannot be read: {0}")]
    Smile(#[from] SmileError),
    #[error("the task is not UTF-8 text: {0}")]
    Text(#[from] std::string::FromUtf8Error),
    #[error("the task cannot be read: {0}")]
    Fields(#[from] Unreadable),
    #[error("the task has no `id`, which an overlord sets in every task")]
    NoId,
}

/// The task in the body of an assignment, of at most `most` bytes as JSON.
pub(crate) fn assigned(format: Format, body: Vec<u8>, most: usize) -> Result<Assigned, InvalidAssignment> {
    let json = match format {
        Format::Smile => smile::to_json(&body, most)?,
        Format::Json => String::from_utf8(body)?,
    };
    match Fields::read(&json, |name| name == "id")?.value("id")? {
        Some(Value::String(id)) => Ok(Assigned { id, json }),
        _ => Err(InvalidAssignment::NoId),
    }
}

/// Why an answer cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwritable {
    #[error(transparent)]
    Smile(#[from] SmileError),
    #[error("the response cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the response cannot be compressed: {0}")]
    Gzip(#[from] std::io::Error),
}

/// A serialized answer.
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    /// Whether it is compressed with gzip.
    pub(crate) packed: bool,
}

/// Serializes an answer; compresses it if the client accepts gzip and compression is worthwhile.
pub(crate) fn write(answer: &Answer, format: Format, gzip: bool) -> Result<Written, Unwritable> {
    let bytes = match format {
        Format::Smile => smile::encode(answer)?,
        Format::Json => serde_json::to_vec(answer)?,
    };
    if !gzip || bytes.len() < WORTH_PACKING {
        return Ok(Written { bytes, packed: false });
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&bytes)?;
    Ok(Written {
        bytes: encoder.finish()?,
        packed: true,
    })
}

/// Whether the client accepts gzip.
pub(crate) fn takes_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight.trim().trim_start_matches("q=").parse() == Ok(0.0);
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
