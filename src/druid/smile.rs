//! Smile, Jackson's binary JSON, the format between overlord and workers (pure).
//!
//! A task is converted to JSON text as Druid itself would write it: 64-bit and larger integers and decimals to the last
//! digit, a float by the shortest text that gives the same float, NaN and the infinities as strings, binary as base64.
//! No tree is built: only the text grows, and it is limited, since a few bytes of Smile may refer back to a long name
//! any number of times.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Longest integer, or unscaled value of a decimal, in bytes: writing it takes time with its square. About 1000 digits,
/// which newer versions of Jackson take at most, too.
const LONGEST_NUMBER: usize = 416;

/// By these names `serde_smile` hands over numbers that no type of Rust can hold.
const BIG_INTEGER: &str = "\0SmileBigIntegerField";
const BIG_DECIMAL: &str = "\0SmileBigDecimalScale";

/// Why Smile cannot be read or written. Nothing of its content is said: it may be secret.
#[derive(Debug, thiserror::Error)]
pub enum SmileError {
    /// It is no Smile, is cut short, or has arrays and objects in each other more than 127 levels deep.
    #[error("it is not valid Smile: {0}")]
    Unreadable(serde_smile::Error),
    /// Something stands behind the value.
    #[error("{0} bytes follow the end of the Smile document")]
    Trailing(usize),
    /// The JSON would be too long.
    #[error("as JSON it has more than {0} bytes, which is the limit")]
    TooLong(usize),
    /// A value has no form in Smile.
    #[error("it cannot be written as Smile: {0}")]
    Unwritable(serde_smile::Error),
}

/// The one value in `smile` as JSON text of at most `most` bytes.
///
/// # Errors
/// [`SmileError`].
pub fn to_json(smile: &[u8], most: usize) -> Result<String, SmileError> {
    let mut rest = smile;
    let mut json = Json {
        text: String::new(),
        most,
        over: false,
    };
    let mut deserializer = serde_smile::Deserializer::from_reader(&mut rest);
    let read = ValueSeed(&mut json).deserialize(&mut deserializer);
    let ended = read.and_then(|()| deserializer.end());
    match ended {
        Err(_) if json.over => Err(SmileError::TooLong(most)),
        Err(error) => Err(SmileError::Unreadable(error)),
        Ok(()) if !rest.is_empty() => Err(SmileError::Trailing(rest.len())),
        Ok(()) => Ok(json.text),
    }
}

/// A value as Smile, with the header and the options that Druid uses: shared names, raw binary, no shared strings.
///
/// # Errors
/// [`SmileError::Unwritable`].
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, SmileError> {
    let mut serializer = serde_smile::Serializer::builder()
        .raw_binary(true)
        .build(Vec::new());
    value.serialize(&mut serializer).map_err(SmileError::Unwritable)?;
    Ok(serializer.into_inner())
}

/// JSON text that is being written.
struct Json {
    text: String,
    most: usize,
    over: bool,
}

impl Json {
    fn put<E: de::Error>(&mut self, text: &str) -> Result<(), E> {
        if text.len() > self.most.saturating_sub(self.text.len()) {
            self.over = true;
            return Err(E::custom("the JSON is too long"));
        }
        self.text.push_str(text);
        Ok(())
    }

    fn put_string<E: de::Error>(&mut self, string: &str) -> Result<(), E> {
        if string.len() > self.most {
            self.over = true;
            return Err(E::custom("the JSON is too long"));
        }
        let quoted = serde_json::to_string(string).map_err(E::custom)?;
        self.put(&quoted)
    }

    fn put_float<E: de::Error>(&mut self, value: f64, text: serde_json::Result<String>) -> Result<(), E> {
        match text {
            Ok(text) if value.is_finite() => self.put(&text),
            _ if value.is_nan() => self.put("\"NaN\""),
            _ if value > 0.0 => self.put("\"Infinity\""),
            _ => self.put("\"-Infinity\""),
        }
    }
}

/// Writes the next value.
struct ValueSeed<'a>(&'a mut Json);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.0.put("null")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.0.put(if value { "true" } else { "false" })
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.0.put(&value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.0.put(&value.to_string())
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<(), E> {
        self.0.put(&value.to_string())
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<(), E> {
        self.0.put(&value.to_string())
    }

    fn visit_f32<E: de::Error>(self, value: f32) -> Result<(), E> {
        self.0.put_float(value.into(), serde_json::to_string(&value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.0.put_float(value, serde_json::to_string(&value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.0.put_string(value)
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<(), E> {
        self.0.put_string(&STANDARD.encode(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut before = "[";
        loop {
            let json = &mut *self.0;
            if elements
                .next_element_seed(ElementSeed { json, before })?
                .is_none()
            {
                break;
            }
            before = ",";
        }
        self.0.put(if before == "[" { "[]" } else { "]" })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut before = "{";
        loop {
            let json = &mut *self.0;
            match members.next_key_seed(NameSeed { json, before })? {
                Some(Name::Written) => members.next_value_seed(ValueSeed(self.0))?,
                Some(Name::BigInteger) => {
                    let Bytes(value) = members.next_value()?;
                    return self
                        .0
                        .put(&digits(&value).map_err(de::Error::custom)?.to_string());
                }
                Some(Name::BigDecimal) => {
                    let scale: i32 = members.next_value()?;
                    members.next_key::<de::IgnoredAny>()?;
                    let Bytes(value) = members.next_value()?;
                    return self
                        .0
                        .put(&digits(&value).map_err(de::Error::custom)?.scaled(scale));
                }
                None => break,
            }
            before = ",";
        }
        self.0.put(if before == "{" { "{}" } else { "}" })
    }
}

/// Writes what stands between two elements, then the element.
struct ElementSeed<'a> {
    json: &'a mut Json,
    before: &'static str,
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.json.put(self.before)?;
        ValueSeed(self.json).deserialize(deserializer)
    }
}

/// What the name of a member turned out to be.
enum Name {
    Written,
    BigInteger,
    BigDecimal,
}

/// Writes what stands before a member, and its name.
struct NameSeed<'a> {
    json: &'a mut Json,
    before: &'static str,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
        match name {
            BIG_INTEGER if self.before == "{" => return Ok(Name::BigInteger),
            BIG_DECIMAL if self.before == "{" => return Ok(Name::BigDecimal),
            _ => {}
        }
        self.json.put(self.before)?;
        self.json.put_string(name)?;
        self.json.put(":")?;
        Ok(Name::Written)
    }
}

/// A big-endian number in two's complement.
struct Bytes(Vec<u8>);

impl<'de> de::Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Copied;
        impl Visitor<'_> for Copied {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the bytes of a number")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                if bytes.len() > LONGEST_NUMBER {
                    return Err(E::custom(format!(
                        "a number has more than {LONGEST_NUMBER} bytes"
                    )));
                }
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Copied)
    }
}

/// An integer in decimal.
struct Decimal {
    sign: &'static str,
    digits: String,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}{}", self.sign, self.digits)
    }
}

impl Decimal {
    /// The number times 10 to the power of `-scale`, as Java's `BigDecimal.toString` writes it.
    fn scaled(&self, scale: i32) -> String {
        let Self { sign, digits } = self;
        let last = digits.len() - 1;
        let exponent = i64::try_from(last).unwrap_or(i64::MAX) - i64::from(scale);
        match usize::try_from(scale) {
            Ok(0) => format!("{sign}{digits}"),
            // So few digits that zeros may stand before them.
            Ok(scale) if exponent >= -6 => {
                let digits = format!("{digits:0>width$}", width = scale + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                format!("{sign}{whole}.{fraction}")
            }
            _ => {
                let (first, others) = digits.split_at(1);
                let point = if others.is_empty() { "" } else { "." };
                format!("{sign}{first}{point}{others}E{exponent:+}")
            }
        }
    }
}

fn digits(number: &[u8]) -> Result<Decimal, &'static str> {
    const GROUP: u64 = 1_000_000_000;
    let first = *number.first().ok_or("a number has no bytes")?;
    let negative = first >= 0x80;
    let mut words = magnitude(number, negative);
    let mut groups = Vec::new();
    loop {
        let mut remainder = 0;
        for word in &mut words {
            let dividend = remainder << 32 | *word;
            (*word, remainder) = (dividend / GROUP, dividend % GROUP);
        }
        groups.push(remainder);
        let zeros = words.iter().take_while(|word| **word == 0).count();
        words.drain(..zeros);
        if words.is_empty() {
            break;
        }
    }
    let first = groups.pop().unwrap_or_default().to_string();
    let others = groups.iter().rev().map(|group| format!("{group:09}"));
    let digits = std::iter::once(first).chain(others).collect();
    let sign = if negative { "-" } else { "" };
    Ok(Decimal { sign, digits })
}

/// A number without its sign in words of 32 bits, the highest first.
fn magnitude(number: &[u8], negative: bool) -> Vec<u64> {
    let fill = if negative { u64::from(u32::MAX) } else { 0 };
    let mut words: Vec<u64> = number
        .rchunks(4)
        .rev()
        .map(|bytes| {
            let word = bytes.iter().fold(fill, |word, byte| word << 8 | u64::from(*byte));
            word & u64::from(u32::MAX)
        })
        .collect();
    if negative {
        let mut carry = 1;
        for word in words.iter_mut().rev() {
            let sum = (!*word & u64::from(u32::MAX)) + carry;
            (*word, carry) = (sum & u64::from(u32::MAX), sum >> 32);
        }
        if carry == 1 {
            words.insert(0, 1);
        }
    }
    words
}

#[cfg(test)]
#[path = "smile_tests.rs"]
mod tests;
