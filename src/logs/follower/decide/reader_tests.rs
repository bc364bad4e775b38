use std::io::Write;

use base64::Engine;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::*;
use crate::digest::hex;

/// The lines of a stream, one a nanosecond.
fn stream(log: &str) -> String {
    let line = |(at, line): (usize, &str)| format!("2026-11-21T09:55:37.{at:09}Z {line}");
    log.split_inclusive('\n').enumerate().map(line).collect()
}

fn block(report: &[u8]) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(report).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(gzip.finish().unwrap());
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(76)
        .map(|c| std::str::from_utf8(c).unwrap())
        .collect();
    let hash = hex(&Sha256::digest(report));
    format!(
        "\n-----BEGIN PEON REPORT {} {hash}-----\n{}\n-----END PEON REPORT {hash}-----\n",
        report.len(),
        lines.join("\n")
    )
}

/// Cuts off what the reader held and is a report.
fn finish(mut reader: Reader, log: &mut Vec<u8>) -> Option<Vec<u8>> {
    let whole = reader.finish(log);
    let at = log.len() - usize::try_from(reader.held()).unwrap();
    let mut report = Vec::new();
    let found = whole && report::decode(&log[at..], &mut report).unwrap();
    found.then(|| {
        log.truncate(at);
        report
    })
}

fn read(stream: &str, step: usize) -> (String, Option<Vec<u8>>) {
    let mut reader = Reader::new(None);
    let mut log = Vec::new();
    for piece in stream.as_bytes().chunks(step) {
        reader.feed(piece, &mut log);
    }
    let report = finish(reader, &mut log);
    (String::from_utf8(log).unwrap(), report)
}

#[test]
fn the_report_is_cut_off_however_the_stream_comes() {
    let report = br#"{"ingestionStatsAndErrors": {"payload": "x"}}"#.repeat(50);
    let log = "one\ntwo without line break";
    let stream = stream(&format!("{log}{}", block(&report)));
    for step in [1, 7, 100, 100_000] {
        let (read, found) = read(&stream, step);
        assert_eq!(read, format!("{log}\n"), "{step}");
        assert_eq!(found.as_deref(), Some(&report[..]), "{step}");
    }
}

#[test]
fn what_only_looks_like_a_report_is_the_logs() {
    let whole = block(b"{}");
    for log in [
        "-----BEGIN PEON REPORT 1 00-----\nand more\n".to_owned(),
        format!("a{whole}and more\n"),
        whole[..whole.len() - 20].to_owned(),
        "-----BEGIN PEON REPORT -----BEGIN PEON REPORT \n".to_owned(),
    ] {
        for step in [1, 50, 100_000] {
            assert_eq!(read(&stream(&log), step), (log.clone(), None), "{step}");
        }
    }
    // An earlier one is the log's, the last one is the report.
    let twice = format!("{}{}", block(b"[1]"), block(b"[2]"));
    let (log, report) = read(&stream(&twice), 10);
    assert_eq!(log, format!("{}\n", block(b"[1]")));
    assert_eq!(report.as_deref(), Some(&b"[2]"[..]));
}

/// Whoever goes on from the mark has to see the whole report again.
#[test]
fn the_mark_stands_before_what_is_held_back() {
    let stream = stream(&format!("one\n{}", block(b"{}")));
    let at = stream.find("-----END").unwrap();
    let mut reader = Reader::new(None);
    let mut log = Vec::new();
    reader.feed(&stream.as_bytes()[..at], &mut log);
    let held = usize::try_from(reader.held()).unwrap();
    assert!(log[log.len() - held..].starts_with(BEGIN), "{held} bytes");
    let given = log.len() - held;
    log.truncate(given);
    let mut next = Reader::new(reader.mark().cloned());
    next.feed(stream.as_bytes(), &mut log);
    assert_eq!(finish(next, &mut log).as_deref(), Some(&b"{}"[..]));
    assert_eq!(String::from_utf8(log).unwrap(), "one\n\n");
    // So does the same one after a break, which sees the first half twice.
    let mut log = Vec::new();
    reader.feed(b"", &mut log);
    let mut reader = Reader::new(None);
    reader.feed(&stream.as_bytes()[..at], &mut log);
    reader.again();
    reader.feed(stream.as_bytes(), &mut log);
    assert_eq!(finish(reader, &mut log).as_deref(), Some(&b"{}"[..]));
}

/// However much a task writes behind a mark, nothing of it is kept here.
#[test]
fn a_block_that_never_ends_takes_no_memory_and_is_the_logs() {
    let head = "one\n-----BEGIN PEON REPORT 8388608 00-----\n";
    let line = "A".repeat(76) + "\n";
    let mut reader = Reader::new(None);
    let (mut given, mut most) = (0, 0);
    let mut give = |reader: &mut Reader, text: &str, from: usize| {
        let mut log = Vec::new();
        for (at, line) in text.split_inclusive('\n').enumerate() {
            let time = format!("2026-11-21T09:55:37.{:09}Z ", from + at);
            reader.feed((time + line).as_bytes(), &mut log);
        }
        given += log.len() as u64;
        most = most.max(reader.held());
        given - reader.held()
    };
    assert_eq!(give(&mut reader, head, 0), 4);
    for at in 0..report::MAX_BLOCK / 77 {
        give(&mut reader, &line, 2 + at);
        assert!(reader.carry.capacity() < LONGEST_LINE);
    }
    assert_eq!(
        give(&mut reader, &line.repeat(2), 1_000_000),
        given_of(head, report::MAX_BLOCK / 77 + 2)
    );
    assert!(most <= report::MAX_BLOCK as u64, "{most}");
    assert_eq!(reader.held(), 0);
}

fn given_of(head: &str, lines: usize) -> u64 {
    (head.len() + lines * 77) as u64
}

#[test]
fn the_last_line_is_known_however_it_comes_in_pieces() {
    const LAST: &str = "Task [the id] completed with status";
    let all = stream(&format!("one\nINFO {LAST} [SUCCESS]\nbehind it\n"));
    let from = all.find(LAST).unwrap();
    for cut in 0..=all.len() {
        let mut reader = Reader::new(None);
        assert_eq!(reader.last_line(), None);
        let mut log = Vec::new();
        reader.expect(LAST);
        reader.feed(&all.as_bytes()[..cut], &mut log);
        // Until the whole line was read, it was not.
        let whole = all[from..].find('\n').unwrap() + from + 1;
        assert_eq!(reader.last_line(), Some(cut >= whole), "{cut}");
        reader.expect(LAST);
        reader.feed(&all.as_bytes()[cut..], &mut log);
        assert_eq!(reader.last_line(), Some(true), "{cut}");
        reader.expect(LAST);
        assert_eq!(reader.last_line(), Some(true), "asked again");
        assert_eq!(log, format!("one\nINFO {LAST} [SUCCESS]\nbehind it\n").as_bytes());
    }
    // The line of another task.
    let mut reader = Reader::new(None);
    reader.expect(LAST);
    let other = stream("Task [the id of another] completed with status [SUCCESS]\n");
    reader.feed(other.as_bytes(), &mut Vec::new());
    assert_eq!(reader.last_line(), Some(false));
}

/// The lines of one task in the log of a shared Indexer, read in one go, in small pieces, and after breaks.
#[test]
fn only_the_lines_of_the_task_are_read_whatever_the_stream_does() {
    let lines = crate::logs::format::shared_log::TaskLines {
        task_id: "a".into(),
        pod_uid: "8f3c2a52-x".into(),
        since: "2026-11-21T09:55:00Z".parse().unwrap(),
    };
    let line = |id: &str, said: &str| format!("T 8f3c2a52 INFO [][[{id}]-x] c - {said}\n");
    let log = [
        "\tat before.any.Header\n".to_owned(),
        line("b", "Published [1] segments: of another"),
        line("a", "one"),
        "\tat a.b.C\n".to_owned(),
        line("b", "java.lang.OutOfMemoryError of another"),
        line("a", "two"),
        line("b", "last"),
    ];
    let stream = stream(&log.concat());
    let expected = "T INFO [[a]-x] c - one\n\tat a.b.C\nT INFO [[a]-x] c - two\n";
    let read = |reader: &mut Reader, bytes: &str, step: usize, log: &mut Vec<u8>| {
        for piece in bytes.as_bytes().chunks(step) {
            reader.feed(piece, log);
        }
    };
    for step in [1, 7, stream.len()] {
        let mut reader = Reader::new(None);
        reader.only(lines.clone());
        assert_eq!(
            reader.since(),
            Some(lines.since),
            "not from the beginning of the file"
        );
        let mut out = Vec::new();
        // The stream breaks after every line, and is read again from its beginning.
        for broken in stream.match_indices('\n').map(|(at, _)| at + 1) {
            reader.again();
            read(&mut reader, &stream[..broken], step, &mut out);
        }
        reader.finish(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{step}");
        assert!(!reader.published() && !reader.out_of_memory(), "others said so");
        assert_eq!(reader.gaps(), 0);
    }
    // What was rotated away is said, and nothing of others comes with it.
    let mut reader = Reader::new(None);
    reader.only(lines);
    let mut out = Vec::new();
    let at = stream.find("java.lang").unwrap();
    let cut = stream[..at].rfind('\n').unwrap() + 1;
    read(
        &mut reader,
        &stream[..stream.find("\tat a.b.C").unwrap()],
        5,
        &mut out,
    );
    reader.again();
    read(&mut reader, &stream[cut..], 5, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(
        text,
        format!("T INFO [[a]-x] c - one\n{GAP}T INFO [[a]-x] c - two\n")
    );
}
