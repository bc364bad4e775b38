//! What is known after a request that changes something at an Indexer (pure).

use crate::druid::error_body;

/// Outcome of a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// The Indexer confirmed it.
    Accepted,
    /// It was certainly not received: there was no connection.
    NotReceived(String),
    /// It was received, and certainly not carried out.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Druid's message.
        why: String,
    },
    /// It may or may not be carried out, perhaps later.
    Unknown(String),
}

impl Posted {
    /// The outcome by the answer's status and body. An Indexer that fails (5xx) may have stored the task before.
    #[must_use]
    pub fn of_answer(status: u16, body: &[u8]) -> Self {
        let why = || error_body::message(body);
        match status {
            200..=299 => Self::Accepted,
            // The request's time was over, or its body was not read whole: nothing says where.
            408 => Self::Unknown(format!("it answers with {status}: {}", why())),
            300..=499 => Self::Refused { status, why: why() },
            _ => Self::Unknown(format!("it answers with {status}: {}", why())),
        }
    }

    /// Whether the Indexer may have the request.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        matches!(self, Self::Accepted | Self::Unknown(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_refuses_proves_that_nothing_was_done() {
        let refused = |status| Posted::Refused {
            status,
            why: "no reason is given".into(),
        };
        let unknown = |status| Posted::Unknown(format!("it answers with {status}: no reason is given"));
        for (status, expected) in [
            (200, Posted::Accepted),
            (202, Posted::Accepted),
            (307, refused(307)),
            (400, refused(400)),
            (401, refused(401)),
            (403, refused(403)),
            (404, refused(404)),
            (408, unknown(408)),
            (500, unknown(500)),
            (502, unknown(502)),
            (503, unknown(503)),
            (100, unknown(100)),
        ] {
            let posted = Posted::of_answer(status, b"");
            assert_eq!(
                posted.may_have_arrived(),
                !matches!(expected, Posted::Refused { .. })
            );
            assert_eq!(posted, expected);
        }
        let said = Posted::of_answer(403, br#"{"Access-Check-Result":"Unauthorized"}"#);
        assert_eq!(
            said,
            Posted::Refused {
                status: 403,
                why: "Unauthorized".into()
            }
        );
        assert!(!Posted::NotReceived("no connection".into()).may_have_arrived());
    }
}
