//! Reads a few fields of a JSON object from its text (pure).
//!
//! The syntax of the rest of the object is checked, and the rest is dropped: neither its size nor its depth costs
//! memory.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Why fields cannot be read. Nothing of their content is said: it may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The text is no JSON object.
    #[error("{0}")]
    NotObject(String),
    /// One of the fields is there more than once: which one counts differs from reader to reader.
    #[error("`{0}` occurs more than once")]
    Twice(String),
    /// One of the fields is legal JSON that nobody could use: a number or nesting beyond all bounds, half a character.
    #[error("`{key}` cannot be read: {error}")]
    Value {
        /// The field.
        key: String,
        /// Why not.
        error: String,
    },
}

/// The fields that were wanted, as far as they are there.
#[derive(Debug, Clone, Default)]
pub struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Reads the fields whose names are `wanted`; each may be there once.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(json: &'a str, wanted: fn(&str) -> bool) -> Result<Self, Unreadable> {
        Self::pick(json, Pick { wanted, once: true })
    }

    /// Reads the fields whose names are `wanted`; of several of one name the last counts, as in a Java map.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read_last(json: &'a str, wanted: fn(&str) -> bool) -> Result<Self, Unreadable> {
        Self::pick(json, Pick { wanted, once: false })
    }

    fn pick(json: &'a str, pick: Pick) -> Result<Self, Unreadable> {
        // The parser's own message would quote what it found instead.
        if let Some(first) = json.trim_start_matches(JSON_SPACE).chars().next()
            && first != '{'
        {
            return Err(Unreadable::NotObject("it does not begin with `{`".into()));
        }
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let fields = pick
            .deserialize(&mut deserializer)
            .and_then(|fields| deserializer.end().map(|()| fields));
        match fields {
            Ok(Picked::Fields(fields)) => Ok(Self(fields)),
            Ok(Picked::Twice(key)) => Err(Unreadable::Twice(key)),
            Err(error) => Err(Unreadable::NotObject(error.to_string())),
        }
    }

    /// The text of a field.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).map(|raw| raw.get())
    }

    /// The value of a field; `None` where it is not there.
    ///
    /// # Errors
    /// When it is legal JSON that cannot be used.
    pub fn value(&self, key: &str) -> Result<Option<Value>, Unreadable> {
        self.text(key).map(|text| value(key, text)).transpose()
    }

    /// All fields with their values.
    ///
    /// # Errors
    /// As [`Self::value`].
    pub fn values(&self) -> Result<serde_json::Map<String, Value>, Unreadable> {
        let entry = |(key, raw): (&String, &&RawValue)| Ok((key.clone(), value(key, raw.get())?));
        self.0.iter().map(entry).collect()
    }

    /// Fields of the object that a field is; none where it is something else, or not there.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn object(&self, key: &str, wanted: fn(&str) -> bool) -> Result<Self, Unreadable> {
        match self.text(key) {
            Some(text) if text.starts_with('{') => Self::read(text, wanted),
            _ => Ok(Self::default()),
        }
    }
}

const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

fn value(key: &str, text: &str) -> Result<Value, Unreadable> {
    serde_json::from_str(text).map_err(|e| Unreadable::Value {
        key: key.to_owned(),
        error: e.to_string(),
    })
}

struct Pick {
    wanted: fn(&str) -> bool,
    once: bool,
}

enum Picked<'de> {
    Fields(BTreeMap<String, &'de RawValue>),
    Twice(String),
}

impl<'de> DeserializeSeed<'de> for Pick {
    type Value = Picked<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pick {
    type Value = Picked<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        let mut twice = None;
        while let Some(key) = map.next_key::<String>()? {
            if !(self.wanted)(&key) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw = map.next_value::<&RawValue>()?;
            if fields.insert(key.clone(), raw).is_some() && self.once {
                twice.get_or_insert(key);
            }
        }
        Ok(twice.map_or(Picked::Fields(fields), Picked::Twice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(_: &str) -> bool {
        true
    }

    #[test]
    fn unwanted_fields_cost_nothing_and_are_checked() {
        let deep = format!(
            "{{\"x\": {}{}, \"a\": 1}}",
            "[".repeat(50_000),
            "]".repeat(50_000)
        );
        let fields = Fields::read(&deep, |key| key == "a").unwrap();
        assert_eq!(fields.value("a"), Ok(Some(1.into())));
        assert_eq!((fields.text("x"), fields.value("x")), (None, Ok(None)));
        for bad in [
            "{\"x\": [}",
            "{\"x\": \"\n\"}",
            "{\"x\": 01}",
            "{\"x\": 1} 2",
            "{",
            "",
        ] {
            assert!(
                matches!(Fields::read(bad, |_| false), Err(Unreadable::NotObject(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_cannot_be_used_is_not_taken_for_absent() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(500), "]".repeat(500));
        for json in ["{\"a\": 1e400}", "{\"a\": \"\\ud800\"}", &deep] {
            let error = Fields::read(json, all).unwrap().value("a").unwrap_err();
            assert!(error.to_string().starts_with("`a` cannot be read: "), "{error}");
        }
    }

    #[test]
    fn of_two_fields_of_one_name_none_is_chosen() {
        let json = "{\"a\": 1, \"\\u0061\": 2, \"b\": 1, \"b\": 2}";
        let error = Fields::read(json, |key| key == "a").unwrap_err();
        assert_eq!(error, Unreadable::Twice("a".into()));
        let last = Fields::read_last(json, all).unwrap().values().unwrap();
        assert_eq!(Value::Object(last), serde_json::json!({"a": 2, "b": 2}));
    }

    #[test]
    fn nothing_that_was_read_is_said() {
        for json in [
            "\"marked\"",
            "marked",
            "{\"a\": marked}",
            "{\"a\": \"marked",
            "\u{feff}{}",
        ] {
            let error = Fields::read(json, all).unwrap_err().to_string();
            assert!(!error.contains("marked"), "{error}");
        }
    }
}
