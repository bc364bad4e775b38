use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_smile::value::{BigDecimal, BigInteger, Value};

use super::*;

macro_rules! wire {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/druid-wire/", $name)).as_slice()
    };
}

const MOST: usize = 1 << 20;

fn json(smile: &[u8]) -> String {
    to_json(smile, MOST).unwrap()
}

fn without_space(json: &[u8]) -> serde_json::Value {
    serde_json::from_slice(json).unwrap()
}

/// Written by the Jackson of Druid 33.0.0 (2.12.7): with Druid's options, with all of them the other way round and an
/// end mark, and as JSON.
#[test]
fn agrees_with_jackson_to_the_letter() {
    for (druid, reverse, text) in [
        (
            wire!("jackson/numbers.smile"),
            wire!("jackson/numbers.shared.smile"),
            wire!("jackson/numbers.json"),
        ),
        (
            wire!("jackson/rest.smile"),
            wire!("jackson/rest.shared.smile"),
            wire!("jackson/rest.json"),
        ),
    ] {
        let text = std::str::from_utf8(text).unwrap();
        assert_eq!(json(druid), text);
        assert_eq!(json(reverse), text);
    }
}

#[test]
fn strings_of_every_length_and_kind_come_through() {
    let text = without_space(wire!("jackson/strings.json"));
    assert_eq!(
        without_space(json(wire!("jackson/strings.smile")).as_bytes()),
        text
    );
    assert_eq!(
        without_space(json(wire!("jackson/strings.shared.smile")).as_bytes()),
        text
    );
}

/// More names and strings than are remembered: both sides begin to count anew.
#[test]
fn references_are_right_after_more_strings_than_are_remembered() {
    let objects: Vec<serde_json::Value> = (0..1400_usize)
        .map(|i| {
            let mut object = serde_json::Map::new();
            for j in (i.saturating_sub(300)..=i).step_by(100) {
                object.insert(format!("n{j}"), format!("v{j}").into());
            }
            object.insert(format!("n{i}x"), format!("v{}", i / 2).into());
            object.into()
        })
        .collect();
    let read = without_space(json(wire!("jackson/many.shared.smile")).as_bytes());
    assert_eq!(read, serde_json::Value::from(objects));
}

#[test]
fn tasks_that_an_overlord_assigned_are_read() {
    for (smile, text) in [
        (
            wire!("overlord-worker/02-assignTask-noop.request.body.smile"),
            wire!("overlord-worker/02-assignTask-noop.request.body.decoded.json"),
        ),
        (
            wire!("overlord-worker/06-assignTask-index_parallel.request.body.smile"),
            wire!("overlord-worker/06-assignTask-index_parallel.request.body.decoded.json"),
        ),
    ] {
        assert_eq!(without_space(json(smile).as_bytes()), without_space(text));
    }
}

fn decimal(unscaled: i64, scale: i32) -> String {
    let value = BigInteger::from_be_bytes(unscaled.to_be_bytes().to_vec());
    json(&encode(&BigDecimal::new(value, scale)).unwrap())
}

#[test]
fn numbers_keep_every_digit() {
    assert_eq!(json(&encode(&((1_i64 << 53) + 1)).unwrap()), "9007199254740993");
    assert_eq!(
        json(&encode(&u128::MAX).unwrap()),
        "340282366920938463463374607431768211455"
    );
    assert_eq!(json(&encode(&0.1_f32).unwrap()), "0.1");
    assert_eq!(json(&encode(&f64::from(0.1_f32)).unwrap()), "0.10000000149011612");
    assert_eq!(decimal(-10, 1), "-1.0");
    assert_eq!(decimal(i64::MIN, i32::MAX), "-9.223372036854775808E-2147483629");
    assert_eq!(decimal(12, i32::MIN), "1.2E+2147483649");
}

#[test]
fn numbers_beyond_a_thousand_digits_are_refused() {
    let number = |bytes| BigInteger::from_be_bytes(vec![0x70; bytes]);
    assert_eq!(json(&encode(&number(LONGEST_NUMBER)).unwrap()).len(), 1002);
    for long in [
        encode(&number(LONGEST_NUMBER + 1)).unwrap(),
        encode(&BigDecimal::new(number(LONGEST_NUMBER + 1), 3)).unwrap(),
        encode(&number(0)).unwrap(),
        encode(&BigDecimal::new(number(0), 0)).unwrap(),
    ] {
        assert!(matches!(to_json(&long, MOST), Err(SmileError::Unreadable(_))));
    }
}

#[test]
fn what_is_cut_short_or_goes_on_is_refused() {
    let whole = wire!("overlord-worker/06-assignTask-index_parallel.request.body.smile");
    for length in 0..whole.len() {
        let cut = to_json(&whole[..length], MOST);
        assert!(matches!(cut, Err(SmileError::Unreadable(_))), "{length}");
    }
    for (behind, message) in [
        (
            b"\xff\0".as_slice(),
            "1 bytes follow the end of the Smile document",
        ),
        (b"\xff\xff", "1 bytes follow the end of the Smile document"),
        (b"\xc0", "trailing data"),
        (b":)\n\x05\xc0", "trailing data"),
    ] {
        let error = to_json(&[whole, behind].concat(), MOST).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    json(&[whole, b"\xff"].concat());
    for broken in [
        b"".as_slice(),
        b":)\n",
        b":)\n\x15\xc0",
        b"{}",
        b":)\n\x05\xfd\x7f\x7f\xbf",
    ] {
        to_json(broken, MOST).unwrap_err();
    }
}

#[test]
fn nesting_is_bounded() {
    for open in [b"\xf8".as_slice(), b"\xfa\x80a"] {
        let nested = |levels: usize| {
            let close = if open[0] == 0xf8 { b"\xf9" } else { b"\xfb" };
            [
                b":)\n\x04",
                &*open.repeat(levels),
                b"\x21",
                &*close.repeat(levels),
            ]
            .concat()
        };
        json(&nested(127));
        for levels in [128, 1_000_000] {
            let error = to_json(&nested(levels), 1 << 30).unwrap_err().to_string();
            assert!(error.contains("recursion limit"), "{error}");
        }
    }
}

#[test]
fn a_long_name_that_is_referred_to_for_ever_does_not_fill_the_memory() {
    let long = [
        b":)\n\x05\xf8\xfa\x34".as_slice(),
        &[b'n'; 10_000],
        b"\xfc\x21\xfb",
    ]
    .concat();
    let bomb = [long, b"\xfa\x40\x21\xfb".repeat(100_000), b"\xf9".to_vec()].concat();
    let error = to_json(&bomb, MOST).unwrap_err();
    assert!(matches!(error, SmileError::TooLong(MOST)), "{error}");
    let exact = encode("12345678").unwrap();
    assert_eq!(to_json(&exact, 10).unwrap().len(), 10);
    assert!(matches!(to_json(&exact, 9), Err(SmileError::TooLong(9))));
}

fn value() -> impl Strategy<Value = Value> {
    let number = prop::collection::vec(any::<u8>(), 1..40).prop_map(BigInteger::from_be_bytes);
    let leaf = prop_oneof![
        any::<()>().prop_map(|()| Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<i32>().prop_map(Value::Integer),
        any::<i64>().prop_map(Value::Long),
        number.clone().prop_map(Value::BigInteger),
        any::<f32>().prop_map(Value::Float),
        any::<f64>().prop_map(Value::Double),
        (number, -2000..2000).prop_map(|(value, scale)| Value::BigDecimal(BigDecimal::new(value, scale))),
        ".{0,90}".prop_map(Value::String),
        prop::collection::vec(any::<u8>(), 0..30).prop_map(Value::Binary),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::vec((".{0,70}", inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What the JSON must say, compared piece by piece with what stands there.
fn same(value: &Value, json: &RawValue) {
    let text = json.get();
    match value {
        Value::Integer(number) => assert_eq!(text, number.to_string()),
        Value::Long(number) => assert_eq!(text, number.to_string()),
        Value::Float(number) => assert_eq!(text.parse::<f32>().unwrap().to_bits(), number.to_bits()),
        Value::Double(number) => assert_eq!(text.parse::<f64>().unwrap().to_bits(), number.to_bits()),
        Value::String(string) => assert_eq!(&serde_json::from_str::<String>(text).unwrap(), string),
        Value::Binary(bytes) => {
            let base64: String = serde_json::from_str(text).unwrap();
            assert_eq!(&STANDARD.decode(base64).unwrap(), bytes);
        }
        Value::Null => assert_eq!(text, "null"),
        Value::Boolean(boolean) => assert_eq!(text, boolean.to_string()),
        Value::BigInteger(number) => assert_eq!(text, reference(number.as_be_bytes())),
        Value::BigDecimal(number) => {
            let unscaled = reference(number.unscaled_value().as_be_bytes());
            let (mantissa, exponent) = text.split_once('E').unwrap_or((text, "0"));
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let fraction_digits = i32::try_from(fraction.len()).unwrap();
            assert_eq!(fraction_digits - exponent.parse::<i32>().unwrap(), number.scale());
            let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
            let all = format!("{whole}{fraction}");
            let digits = all.trim_start_matches('0');
            let digits = if digits.is_empty() { "0" } else { digits };
            assert_eq!(format!("{sign}{digits}"), unscaled);
        }
        Value::Array(values) => {
            let elements: Vec<Box<RawValue>> = serde_json::from_str(text).unwrap();
            assert_eq!(elements.len(), values.len());
            values
                .iter()
                .zip(&elements)
                .for_each(|(value, json)| same(value, json));
        }
        Value::Object(members) => {
            let read: std::collections::HashMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap();
            assert_eq!(read.len(), members.len());
            members.iter().for_each(|(name, value)| same(value, &read[name]));
        }
    }
}

/// Digit by digit, as on paper.
fn reference(number: &[u8]) -> String {
    let negative = number[0] >= 0x80;
    let mut digits = vec![0_u32];
    for byte in number {
        let mut carry = u32::from(if negative { !byte } else { *byte });
        for digit in &mut digits {
            let sum = *digit * 256 + carry;
            (*digit, carry) = (sum % 10, sum / 10);
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    if negative {
        let nine = digits
            .iter()
            .position(|digit| *digit != 9)
            .unwrap_or(digits.len());
        digits[..nine].fill(0);
        match digits.get_mut(nine) {
            Some(digit) => *digit += 1,
            None => digits.push(1),
        }
    }
    let text: String = digits.iter().rev().map(u32::to_string).collect();
    let text = text.trim_start_matches('0');
    match (negative, text) {
        (_, "") => "0".into(),
        (true, text) => format!("-{text}"),
        (false, text) => text.into(),
    }
}

proptest! {
    #[test]
    fn every_value_is_in_the_json(value in value(), shared in any::<bool>(), raw in any::<bool>()) {
        let mut serializer = serde_smile::Serializer::builder()
            .shared_strings(shared)
            .raw_binary(raw)
            .build(Vec::new());
        value.serialize(&mut serializer).unwrap();
        let text = json(&serializer.into_inner());
        same(&value, &serde_json::from_str::<Box<RawValue>>(&text).unwrap());
    }

    #[test]
    fn no_bytes_are_too_odd(flags in 0_u8..8, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let smile = [b":)\n".as_slice(), &[flags], &bytes].concat();
        if let Ok(text) = to_json(&smile, MOST) {
            serde_json::from_str::<Box<RawValue>>(&text).unwrap();
        }
    }

    #[test]
    fn no_change_of_a_real_task_is_too_odd(at in 0_usize..1951, byte in any::<u8>()) {
        let mut smile = wire!("overlord-worker/06-assignTask-index_parallel.request.body.smile").to_vec();
        smile[at] = byte;
        if let Ok(text) = to_json(&smile, MOST) {
            serde_json::from_str::<Box<RawValue>>(&text).unwrap();
        }
    }
}
