//! The bodies of Druid's error answers (pure).

use serde::Deserialize;

/// Most characters of Druid's message that are repeated in ours.
const MOST: usize = 1000;

/// A refusal with Druid's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    code: Option<String>,
}

impl Refusal {
    /// Parses it; `None` if the body is not in Druid's format.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        // `DruidException` has an error code and "druidException" in `error`, where older error formats have the
        // message; missing rights have their own format.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Said {
            error: Option<String>,
            error_message: Option<String>,
            error_code: Option<String>,
            #[serde(rename = "Access-Check-Result")]
            access: Option<String>,
        }
        let said: Said = serde_json::from_slice(body).ok()?;
        let message = said.error_message.or(said.access).or(said.error)?;
        Some(Self {
            message: shortened(&message),
            code: said.error_code,
        })
    }

    /// Whether a task with that id exists.
    pub(crate) fn already_exists(&self) -> bool {
        self.code.as_deref() == Some("entryAlreadyExists")
    }
}

/// The message of any answer, shortened to one line.
pub(crate) fn message(body: &[u8]) -> String {
    if let Some(refusal) = Refusal::read(body) {
        return refusal.message;
    }
    let text = String::from_utf8_lossy(body);
    // An HTML page has its message in the title.
    let title = text
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"));
    match title.map_or(text.trim(), |(title, _)| title.trim()) {
        "" => "no reason is given".to_owned(),
        said => shortened(said),
    }
}

/// An external message on one line, shortened.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_way_in_which_druid_refuses() {
        let table = [
            // A `DruidException`.
            (
                r#"{"error":"druidException","errorCode":"entryAlreadyExists","persona":"USER",
                    "category":"INVALID_INPUT","errorMessage":"Task[t] already exists","context":{}}"#,
                "Task[t] already exists",
                true,
            ),
            (
                r#"{"error":"druidException","errorCode":"invalidInput","persona":"USER","category":"INVALID_INPUT",
                    "errorMessage":"Task[t] has payload of size[2]","context":{}}"#,
                "Task[t] has payload of size[2]",
                false,
            ),
            // Recorded: a task that cannot be read.
            (
                r#"{"error":"Cannot construct instance of `org.apache.druid.indexing.common.task.NoopTask`, problem: Invalid value for field [task ID]: Value [with/slash] cannot contain '/'."}"#,
                "Cannot construct instance of `org.apache.druid.indexing.common.task.NoopTask`, problem: Invalid value for field [task ID]: Value [with/slash] cannot contain '/'.",
                false,
            ),
            (r#"{"Access-Check-Result":"Unauthorized"}"#, "Unauthorized", false),
            (
                r#"{"error":"Unauthorized request","errorMessage":null,"errorClass":null,"host":"h"}"#,
                "Unauthorized request",
                false,
            ),
        ];
        for (body, message, exists) in table {
            let refusal = Refusal::read(body.as_bytes()).unwrap();
            assert_eq!(
                (refusal.message.as_str(), refusal.already_exists()),
                (message, exists)
            );
        }
        for body in ["", "{}", "[]", "<html>", r#"{"error":null}"#, r#"{"error":{}}"#] {
            assert_eq!(Refusal::read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn says_what_a_page_says_in_its_title() {
        let page = "<html>\n<head><title>Error 404 Not Found</title></head><body>…</body></html>";
        for (body, said) in [
            (page, "Error 404 Not Found"),
            ("", "no reason is given"),
            (" a\r\nb ", "a  b"),
        ] {
            assert_eq!(message(body.as_bytes()), said);
        }
        let long = message("ä".repeat(5000).as_bytes());
        assert_eq!(long.chars().count(), MOST + 1);
    }
}
