//! Which task ids Druid accepts (pure).
//!
//! From Druid's `org.apache.druid.common.utils.IdUtils.validateId`, 33.0.0. The ranges are those that its ZooKeeper
//! client refuses; they are compared as UTF-16 units there, so characters outside the basic plane are refused. Druid
//! accepts NUL, which is refused here: neither file names nor arguments can contain it.

use std::fmt::Write as _;

/// Longest id in bytes: the id becomes a file name in the peon's scratch space.
pub const LONGEST: usize = 255;

/// Checks a task id.
///
/// # Errors
/// The reason why Druid, or a file system, would not take the id.
pub fn check(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("it is empty".into());
    }
    if id.len() > LONGEST {
        return Err(format!(
            "it has {} bytes in UTF-8, at most {LONGEST} are allowed",
            id.len()
        ));
    }
    if id.starts_with('.') {
        return Err("it starts with '.'".into());
    }
    if id.contains('/') {
        return Err("it contains '/'".into());
    }
    match id.chars().find(|c| illegal(*c)) {
        Some(c) => Err(format!("it contains the character U+{:04X}", u32::from(c))),
        None => Ok(()),
    }
}

fn illegal(c: char) -> bool {
    matches!(u32::from(c), 0..=0x1e | 0x80..=0x9e | 0xe000..=0xf8fe | 0xfff1..=0xfffe | 0x1_0000..)
}

/// An id as a segment of a URL path. All characters with a special meaning are encoded: Druid takes `;` for the
/// beginning of a parameter.
#[must_use]
pub fn path_segment(id: &str) -> String {
    id.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a Druid 33.0.0 overlord answered when each id was submitted, less NUL.
    #[test]
    fn agrees_with_a_real_overlord() {
        let accepted = [
            "plain-id_1.2",
            "with:colon",
            "with space",
            "back\\slash",
            "UPPER",
            "ünïcødé",
            "semi;colon",
            "pct%41",
            "q?x=1&y",
            " lead",
            "trail ",
            "quote\"x",
            "apos'x",
            "dollar$x",
            "star*",
            "pipe|x",
            "amp&x",
            "plus+x",
            "comma,x",
            "paren(x)",
            "at@x",
            "tilde~x",
            "hash#x",
            "curly{x}",
            "square[x]",
            "lt<x>",
            "bang!x",
            "eq=x",
            "caret^x",
            "backtick`x",
            "index_parallel_ds with space_keigpdok_2026-11-21T02:04:32.154Z",
        ];
        for id in accepted {
            assert_eq!(check(id), Ok(()), "{id:?}");
        }
        for id in [
            "with/slash",
            "..",
            "../up",
            ".dot",
            "emoji😀",
            "tab\tx",
            "new\nline",
            "",
            "nul\0x",
        ] {
            assert!(check(id).is_err(), "{id:?}");
        }
        assert!(check(&"a".repeat(255)).is_ok());
        assert!(check(&"ü".repeat(128)).is_err());
    }
}
