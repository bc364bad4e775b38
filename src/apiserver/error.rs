//! Texts of errors.

use super::classify::decode;

/// An error with all of its causes in one line. Values that a parser quotes from an answer are left out: they may be
/// secret.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let mut cause_text = cause.to_string();
        if let Some(parser) = cause.downcast_ref::<serde_json::Error>() {
            let quoted = std::mem::replace(&mut cause_text, decode::why(parser));
            text = text.replace(&quoted, &cause_text);
        }
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The message of a panic, in one line. Its location is in the log already.
#[must_use]
pub fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    said.unwrap_or("a panic without a message").replace('\n', " ")
}
