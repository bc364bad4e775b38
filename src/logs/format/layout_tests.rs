use super::*;
use crate::logs::format::location::S3Encryption;

/// Ids that a Druid 33 overlord takes, less the one with NUL, which is no task here.
const ODD: [&str; 33] = [
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
    "hash#1",
    "curly{x}",
    "square[x]",
    "lt<x>",
    "bang!x",
    "eq=x",
    "caret^x",
    "backtick`x",
    "index_parallel_ds with space_keigpdok_2026-11-21T02:04:32.154Z",
    "ends.",
];

fn layouts() -> [Layout; 4] {
    let (prefix, bucket) = ("a/b".to_owned(), "x".to_owned());
    [
        Location::File {
            directory: "/logs".into(),
        },
        Location::S3 {
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            endpoint: None,
            region: None,
            path_style: false,
            encryption: S3Encryption::Bucket,
            keys: None,
        },
        Location::Google {
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            service_account: None,
        },
        Location::Azure {
            account: "acc".into(),
            container: bucket,
            prefix,
            endpoint: "https://acc.blob.core.windows.net".into(),
            credentials: None,
        },
    ]
    .map(|location| Layout::of(&location))
}

#[test]
fn keys_are_druids() {
    let id = "a:b c";
    let keys = |layout: &Layout| [layout.log(id), layout.report(id)].map(|key| key.unwrap().to_string());
    let [file, s3, google, azure] = layouts();
    assert_eq!(keys(&file), ["a:b c.log", "a:b c.report.json"]);
    assert_eq!(keys(&s3), ["a/b/a:b c/log", "a/b/a:b c/report.json"]);
    assert_eq!(keys(&google), ["a/b/a_b c", "a/b/a_b c.report.json"]);
    assert_eq!(keys(&azure), ["a/b/a:b c/log", "a/b/a:b c/report.json"]);
}

#[test]
fn every_legal_id_is_in_its_key_as_it_is() {
    let [file, s3, google, azure] = layouts();
    let long = "a".repeat(255);
    for id in ODD.into_iter().chain([long.as_str()]) {
        assert_eq!(s3.log(id).unwrap().as_ref(), format!("a/b/{id}/log"));
        assert_eq!(
            azure.report(id).unwrap().as_ref(),
            format!("a/b/{id}/report.json")
        );
        assert_eq!(
            google.log(id).unwrap().as_ref(),
            format!("a/b/{}", id.replace(':', "_"))
        );
        if id.len() <= LONGEST_IN_DIRECTORY {
            assert_eq!(file.log(id).unwrap().as_ref(), format!("{id}.log"));
        }
    }
    let longest = "ü".repeat(121) + "a";
    assert_eq!(longest.len(), LONGEST_IN_DIRECTORY);
    assert_eq!(file.report(&longest).unwrap().as_ref().len(), 255);
}

#[test]
fn ids_that_are_no_key_are_refused() {
    let [file, s3, ..] = layouts();
    for id in [
        "",
        "..",
        ".peon",
        "a/b",
        "tab\t",
        "nul\0",
        "unit\u{1f}",
        "del\u{7f}",
    ] {
        assert!(matches!(s3.log(id), Err(InvalidKey::TaskId { .. })), "{id:?}");
    }
    let said = file.log(&"a".repeat(244)).unwrap_err().to_string();
    assert!(said.contains("244 bytes") && said.contains("243"), "{said}");
}

#[test]
fn our_own_keys_stand_apart() {
    let part = PartName::new(2, 7, "c.1").unwrap();
    let completed: Timestamp = "2026-11-21T11:22:58.123456Z".parse().unwrap();
    for (layout, prefix) in layouts().iter().zip(["", "a/b/", "a/b/", "a/b/"]) {
        let own = |rest: &str| format!("{prefix}.peon/{rest}");
        assert_eq!(
            layout.part("u-1", &part).unwrap().as_ref(),
            own("parts/u-1/0002-00000007-c.1")
        );
        assert_eq!(layout.composed("u-1").unwrap().as_ref(), own("composed/u-1"));
        let entry = layout.history("ns", completed, "u-1").unwrap();
        assert_eq!(
            entry.as_ref(),
            own("history/ns/2026-11-21/20261121T112258.123Z-u-1.json")
        );
        let read = read_history_key(&entry).unwrap();
        assert_eq!(
            read,
            ("2026-11-21T11:22:58.123Z".parse().unwrap(), "u-1".to_owned())
        );
    }
    let [file, s3, ..] = layouts();
    assert!(file.in_use().is_some() && s3.in_use().is_none());
    assert!(file.stages_all() && !s3.stages_all());
    assert!(s3.keeps().is_empty() && file.keeps().len() == 4);
    assert!(file.numbers_claims() && !s3.numbers_claims());
    assert_eq!(s3.staged("u", "log").unwrap().as_ref(), "a/b/.peon/staged/u.log");
    assert_eq!(s3.aside("u", "log").unwrap().as_ref(), "a/b/.peon/tasks/u/log");
}

#[test]
fn only_names_of_kubernetes_are_in_our_own_keys() {
    let [file, ..] = layouts();
    for name in ["", "a/b", "..", "a.b", &"a".repeat(64)] {
        assert_eq!(file.parts(name), Err(InvalidKey::Name(name.to_owned())));
        assert!(file.history(name, Timestamp::UNIX_EPOCH, "u").is_err());
    }
    for key in [
        "x/note.txt",
        "x/2026.json",
        "x/20261121T112258.123Z-.json",
        "x/no-u.json",
    ] {
        assert_eq!(read_history_key(&Path::from(key)), None, "{key}");
    }
}
