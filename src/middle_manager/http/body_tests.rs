use std::io::Read;

use flate2::read::GzDecoder;

use super::*;
use crate::druid::worker::{Change, Counter};

fn headers(name: &header::HeaderName, values: &[&str]) -> HeaderMap {
    let pair = |value: &&str| (name.clone(), HeaderValue::from_str(value).unwrap());
    values.iter().map(pair).collect()
}

#[test]
fn smile_is_asked_for_to_the_letter() {
    for (accept, format) in [
        ("application/x-jackson-smile", Format::Smile),
        ("application/x-jackson-smile, application/json", Format::Json),
        ("application/json", Format::Json),
        ("*/*", Format::Json),
    ] {
        assert_eq!(
            Format::of_answer(&headers(&header::ACCEPT, &[accept])),
            format,
            "{accept}"
        );
    }
    assert_eq!(Format::of_answer(&HeaderMap::new()), Format::Json);
}

#[test]
fn a_body_is_what_its_type_says() {
    for (sent, format) in [
        ("application/x-jackson-smile", Some(Format::Smile)),
        ("Application/JSON; charset=utf-8", Some(Format::Json)),
        ("text/plain", None),
    ] {
        assert_eq!(
            Format::of_body(&headers(&header::CONTENT_TYPE, &[sent])),
            format,
            "{sent}"
        );
    }
    assert_eq!(Format::of_body(&HeaderMap::new()), None);
}

#[test]
fn an_assignment_keeps_its_text() {
    let json = " {\"type\":\"noop\", \"id\":\"\\u00fc b\", \"x\":9007199254740993, \"y\":1.10}\n";
    let task = assigned(Format::Json, json.as_bytes().to_vec(), 1000).unwrap();
    assert_eq!((task.id.as_str(), task.json.as_str()), ("ü b", json));
    let smile = smile::encode(&serde_json::json!({"type": "noop", "id": "ü b"})).unwrap();
    let task = assigned(Format::Smile, smile, 1000).unwrap();
    assert_eq!(task.json, r#"{"id":"ü b","type":"noop"}"#);
    assert_eq!(task.id, "ü b");
}

#[test]
fn what_is_no_task_is_refused_without_being_quoted() {
    let secret = "{\"password\":\"s3cret\"";
    let bad = |id: &str| format!("{secret},\"id\":{id}}}");
    for (json, why) in [
        (secret.to_owned(), "EOF"),
        (format!("{secret}}}"), "has no `id`"),
        (bad("7"), "has no `id`"),
        (bad("null"), "has no `id`"),
        (bad("\"a\",\"id\":\"b\""), "`id` occurs more than once"),
        (bad("\"a\"") + " x", "trailing characters"),
        (bad("\"\\ud800\""), "`id` cannot be read"),
        ("[\"s3cret\"]".into(), "does not begin with `{`"),
        ("\"s3cret\"".into(), "does not begin with `{`"),
        (String::new(), "EOF"),
    ] {
        let error = assigned(Format::Json, json.clone().into_bytes(), 1000)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(why) && !error.contains("s3cret"),
            "{json}: {error}"
        );
        let as_smile = assigned(Format::Smile, json.into_bytes(), 1000).unwrap_err();
        assert!(!as_smile.to_string().contains("s3cret"), "{as_smile}");
    }
    let not_text = assigned(Format::Json, vec![b'{', 0xff], 1000).unwrap_err();
    assert!(matches!(not_text, InvalidAssignment::Text(_)));
    let array = smile::encode(&["s3cret"]).unwrap();
    let array = assigned(Format::Smile, array, 1000).unwrap_err().to_string();
    assert!(array.contains("does not begin with `{`"), "{array}");
}

#[test]
fn gzip_is_for_those_who_take_it() {
    for (encodings, gzip) in [
        (&["gzip"][..], true),
        (&["deflate, GZip;q=0.5"], true),
        (&["deflate", "gzip"], true),
        (&["gzip;q=0"], false),
        (&["gzip; q=0.000, identity"], false),
        (&["identity"], false),
        (&[], false),
    ] {
        assert_eq!(
            takes_gzip(&headers(&header::ACCEPT_ENCODING, encodings)),
            gzip,
            "{encodings:?}"
        );
    }
}

#[test]
fn long_answers_are_packed() {
    let answer = |removals| {
        let removal = |n| Change::TaskRemoval {
            task_id: format!("task-{n}"),
        };
        Answer::changes(
            Counter { counter: 1, hash: 2 },
            (0..removals).map(removal).collect(),
        )
    };
    assert!(!write(&answer(1), Format::Json, true).unwrap().packed);
    assert!(!write(&answer(100), Format::Json, false).unwrap().packed);
    for format in [Format::Json, Format::Smile] {
        let plain = write(&answer(100), format, false).unwrap().bytes;
        let packed = write(&answer(100), format, true).unwrap();
        assert!(packed.packed && packed.bytes.len() < plain.len());
        let mut unpacked = Vec::new();
        GzDecoder::new(&packed.bytes[..])
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, plain);
    }
}
