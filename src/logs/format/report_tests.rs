use base64::Engine;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

fn hash(report: &[u8]) -> String {
    hex(&Sha256::digest(report))
}

/// A block as the script writes it.
pub fn block(report: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(report).unwrap();
    let text = STANDARD.encode(encoder.finish().unwrap());
    let hash = hash(report);
    let mut block = format!("\n-----BEGIN PEON REPORT {} {hash}-----\n", report.len());
    for line in text.as_bytes().chunks(76) {
        block.push_str(std::str::from_utf8(line).unwrap());
        block.push('\n');
    }
    block += "-----END PEON REPORT ";
    (block + &hash + "-----\n").into_bytes()
}

/// What the cutter makes of it, in pieces of this size.
fn cut(stream: &[u8], piece: usize) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut cutter, mut log) = (Cutter::default(), Vec::new());
    for piece in stream.chunks(piece) {
        cutter.push(piece, &mut log);
    }
    let (rest, report) = cutter.finish();
    log.extend(rest);
    (log, report)
}

/// Both ways to read it have to agree.
fn both(stream: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let found = split(stream);
    let found = (stream[..found.log].to_vec(), found.report);
    for piece in [1, 7, 64, 1 << 20] {
        assert!(cut(stream, piece) == found, "in pieces of {piece}");
    }
    found
}

const REPORT: &[u8] = b"{\"ingestionStatsAndErrors\":{}}";

#[test]
fn a_block_at_the_end_is_cut_off_to_the_byte() {
    for log in [
        &b""[..],
        b"\n",
        b"one\ntwo\n",
        b"ends in the middle",
        b"\xff\0\n\n",
    ] {
        let stream = [log, &block(REPORT)].concat();
        assert_eq!(both(&stream), (log.to_vec(), Some(REPORT.to_vec())));
        assert_eq!(both(log), (log.to_vec(), None));
    }
}

#[test]
fn what_looks_like_a_block_earlier_is_the_logs() {
    let real = block(REPORT);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let lines: Vec<String> = text(&real).lines().map(str::to_owned).collect();
    for earlier in [
        text(&real),
        format!("{}{}", text(&real), text(&real)),
        format!("{}\n", lines[1]),
        lines[1].clone(),
        format!("\n{}\nAAAA\n", lines[1]),
        "\n-----BEGIN PEON REPORT ".to_owned(),
        "\n-----BEGIN PEON REPORT 1 x-----\nAAAA\n-----END PEON REPORT y-----".to_owned(),
        format!("{}\n", lines[lines.len() - 1]),
        "\n\n-----BEGIN PEON ".to_owned(),
    ] {
        let stream = [earlier.as_bytes(), &real].concat();
        assert_eq!(
            both(&stream),
            (earlier.clone().into_bytes(), Some(REPORT.to_vec())),
            "{earlier:?}"
        );
        let ended = [stream.as_slice(), b"more\n"].concat();
        assert_eq!(both(&ended), (ended.clone(), None), "{earlier:?}");
        let ended = [stream.as_slice(), b"\n"].concat();
        assert_eq!(both(&ended), (ended.clone(), None), "{earlier:?}");
    }
}

#[test]
fn a_cut_or_damaged_block_is_the_logs() {
    let log = b"a line\n";
    let whole = [log.as_slice(), &block(REPORT)].concat();
    for length in log.len()..whole.len() {
        let cut = &whole[..length];
        assert_eq!(both(cut), (cut.to_vec(), None), "{length}");
    }
    for at in log.len()..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert_eq!(both(&damaged), (damaged.clone(), None), "{at}");
        let mut missing = whole.clone();
        missing.remove(at);
        let (found, report) = both(&missing);
        // A line break less between lines of base64 changes nothing.
        assert!(report.is_none() && found == missing || whole[at] == b'\n', "{at}");
    }
}

#[test]
fn a_report_is_no_longer_than_it_says() {
    let bomb = vec![b' '; 100_000];
    let text = String::from_utf8(block(&bomb)).unwrap();
    for said in [
        "10",
        "99999",
        "100001",
        "8388609",
        "18446744073709551615",
        "-1",
        "",
    ] {
        let stream = text.replace(" 100000 ", &format!(" {said} ")).into_bytes();
        assert_eq!(both(&stream), (stream.clone(), None), "{said}");
    }
    assert_eq!(both(text.as_bytes()).1, Some(bomb));
}

#[test]
fn the_largest_report_has_room() {
    // Nothing of this compresses.
    let mut state = 1_u64;
    let report: Vec<u8> = (0..MAX_REPORT / 8)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    let block = block(&report);
    assert!(
        block.len() > MAX_REPORT && block.len() < MAX_BLOCK,
        "{}",
        block.len()
    );
    let stream = [b"log\n".as_slice(), &block].concat();
    let (log, found) = cut(&stream, 65_536);
    assert_eq!(log, b"log\n");
    assert!(found == Some(report.clone()));
    let tail = split(&stream[stream.len() - block.len() - 2..]);
    assert!(tail.log == 2 && tail.report == Some(report));
}

#[test]
fn what_cannot_be_a_report_is_not_held_back() {
    let (mut cutter, mut log) = (Cutter::default(), Vec::new());
    cutter.push(b"a line\nanother", &mut log);
    assert_eq!(log, b"a line\nanother");
    cutter.push(b"\n-----BEGIN PEON REPORT 1 x-----\nAAAA", &mut log);
    assert_eq!(log, b"a line\nanother");
    cutter.push(b"\nno base64\n", &mut log);
    assert!(
        log.ends_with(b"AAAA\nno base64"),
        "{:?}",
        String::from_utf8_lossy(&log)
    );
    let endless = b"\n-----BEGIN PEON REPORT 1 x-----\n".to_vec();
    let lines = "A".repeat(76) + "\n";
    log.clear();
    cutter.push(&endless, &mut log);
    for _ in 0..=MAX_BLOCK / 77 {
        cutter.push(lines.as_bytes(), &mut log);
    }
    assert!(log.len() > MAX_BLOCK, "{}", log.len());
}

proptest! {
    #[test]
    fn both_ways_agree_and_lose_nothing(
        parts in prop::collection::vec(prop_oneof![
            Just(block(REPORT)), Just(block(b"x")), Just(BEGIN.to_vec()), Just(END.to_vec()), Just(b"\n".to_vec()),
            Just(b"AAAA\n".to_vec()), prop::collection::vec(any::<u8>(), 0..20),
        ], 0..6),
        length in any::<prop::sample::Index>(),
    ) {
        let stream = parts.concat();
        let stream = &stream[..length.index(stream.len() + 1)];
        let (log, report) = both(stream);
        let behind = report.map(|report| block(&report)).unwrap_or_default();
        prop_assert_eq!([log, behind].concat(), stream);
    }
}
