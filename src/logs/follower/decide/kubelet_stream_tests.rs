use proptest::prelude::*;

use super::*;

const T1: &str = "2026-11-21T09:55:37.100000000Z";
const T2: &str = "2026-11-21T09:55:37.200000000Z";
const T3: &str = "2026-11-21T09:55:39.000000000Z";

fn fed(cutter: &mut Cutter, stream: &str) -> String {
    let mut out = Vec::new();
    cutter.feed(stream.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn times_are_taken_off() {
    let mut cutter = Cutter::new(None);
    let stream = format!("{T1} one\n{T1} \n{T2} two with  blanks \n{T3} no line break");
    assert_eq!(
        fed(&mut cutter, &stream),
        "one\n\ntwo with  blanks \nno line break"
    );
    cutter.finish();
    assert_eq!((cutter.gaps, cutter.complaint.as_deref()), (0, None));
    let mark = cutter.mark().unwrap();
    assert_eq!((mark.time.as_str(), mark.read, mark.whole), (T3, 13, false));
}

#[test]
fn a_log_is_asked_for_again_from_the_second_before() {
    let mut cutter = Cutter::new(None);
    assert_eq!(cutter.since(), None);
    fed(&mut cutter, &format!("{T1} one\n"));
    assert_eq!(cutter.since().unwrap().to_string(), "2026-11-21T09:55:36Z");
}

#[test]
fn what_comes_twice_is_dropped() {
    let mut cutter = Cutter::new(None);
    assert_eq!(
        fed(&mut cutter, &format!("{T1} same\n{T1} same\n{T2} hal")),
        "same\nsame\nhal"
    );
    cutter.again();
    let rest = fed(
        &mut cutter,
        &format!("{T1} same\n{T1} same\n{T2} half a line\n{T3} next\n"),
    );
    assert_eq!(rest, "f a line\nnext\n");
    // Another process goes on from the name of a part.
    let mut other = Cutter::new(Some(cutter.mark().unwrap().to_string().parse().unwrap()));
    assert_eq!(
        fed(&mut other, &format!("{T2} half a line\n{T3} next\n{T3} last\n")),
        "last\n"
    );
    assert_eq!(other.gaps, 0);
}

#[test]
fn what_is_missing_is_said() {
    let mut cutter = Cutter::new(None);
    assert_eq!(fed(&mut cutter, &format!("{T1} one\n")), "one\n");
    cutter.again();
    assert_eq!(
        fed(&mut cutter, &format!("{T3} three\n")),
        format!("{GAP}three\n")
    );
    assert_eq!(cutter.gaps, 1);
    // Half a line is ended first.
    assert_eq!(fed(&mut cutter, "2026-11-21T09:55:40Z hal"), "hal");
    cutter.again();
    assert_eq!(
        fed(&mut cutter, "2026-11-21T09:55:41Z x\n"),
        format!("\n{GAP}x\n")
    );
    // A line of the same time that is another one.
    cutter.again();
    let stream = "2026-11-21T09:55:41Z y\n2026-11-21T09:55:42Z z\n";
    assert_eq!(fed(&mut cutter, stream), format!("{GAP}z\n"));
    assert_eq!(cutter.gaps, 3);
}

/// What was rotated away before anything was read leaves no trace in the stream.
#[test]
fn a_beginning_that_may_be_missing_is_said() {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let read = |known: Option<LogMark>, started: Option<&str>, opened: &str| {
        let mut cutter = Cutter::new(known);
        if let Some(started) = started {
            cutter.started(time(started));
        }
        cutter.opened(time(opened));
        let text = fed(&mut cutter, &format!("{T1} one\n"));
        cutter.again();
        // A second stream, opened when the line was there, changes nothing.
        cutter.opened(time("2026-11-21T10:00:00Z"));
        let rest = fed(&mut cutter, &format!("{T1} one\n{T3} three\n"));
        (text + &rest, cutter.gaps)
    };
    let (long_before, just_before) = (Some("2026-11-21T09:55:07Z"), Some("2026-11-21T09:55:08Z"));
    let (before, after) = ("2026-11-21T09:55:09Z", "2026-11-21T09:55:50Z");
    let whole = ("one\nthree\n".to_owned(), 0);
    assert_eq!(
        read(None, long_before, after),
        (format!("{BEGINNING}one\nthree\n"), 1)
    );
    // The container was silent for long, and its log was open all the time.
    assert_eq!(read(None, long_before, before), whole);
    assert_eq!(read(None, just_before, after), whole);
    assert_eq!(read(None, None, after), whole);
    // Where parts are archived, what is missing is missing behind them.
    let known = fresh("2026-11-21T09:55:36Z".into(), 1);
    let behind = (format!("{GAP}one\nthree\n"), 1);
    assert_eq!(read(Some(known), long_before, after), behind);
}

#[test]
fn what_the_kubelet_says_is_no_log() {
    let mut cutter = Cutter::new(None);
    let stream = "unable to retrieve container logs for containerd://0123456789abcdef0123456789abcdef";
    assert_eq!(fed(&mut cutter, stream), "");
    cutter.finish();
    assert_eq!(cutter.complaint.as_deref(), Some(stream));
}

/// As when it has no more of what it follows a log with: the log was read, and goes on in the next stream.
#[test]
fn what_the_kubelet_says_counts_until_there_is_a_log_again() {
    let mut cutter = Cutter::new(None);
    let said = "failed to create fsnotify watcher: too many open files";
    assert_eq!(
        fed(&mut cutter, &format!("2026-11-21T09:55:41Z x\n{said}\n")),
        "x\n"
    );
    assert_eq!(cutter.complaint.as_deref(), Some(said));
    cutter.again();
    let stream = "2026-11-21T09:55:41Z x\n2026-11-21T09:55:42Z y\n";
    assert_eq!(fed(&mut cutter, stream), "y\n");
    assert_eq!((cutter.gaps, cutter.complaint.as_deref()), (0, None));
}

/// A log file as the kubelet serves it.
#[derive(Debug)]
struct File(Vec<(i64, Vec<u8>)>);

impl File {
    fn stream(&self, since: Option<Timestamp>, first: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut begun = false;
        for (nanos, line) in &self.0[first..] {
            let time = Timestamp::from_nanosecond(i128::from(*nanos) + 1_800_000_000_000_000_000).unwrap();
            begun |= since.is_none_or(|s| time >= s);
            if begun {
                stream.extend_from_slice(format!("{time:.9} ").as_bytes());
                stream.extend_from_slice(line);
            }
        }
        stream
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(_, line)| line.clone()).collect()
    }
}

/// `least` is the least time between two lines.
fn files(least: i64) -> impl Strategy<Value = File> {
    let line = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => Just(b"same".to_vec()),
        1 => Just("ü€".as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..400),
    ];
    // Often the same time, sometimes seconds later.
    let step = prop_oneof![3 => Just(0_i64), 3 => 1..1000_i64, 2 => 900_000_000..3_000_000_000_i64];
    proptest::collection::vec((step, line), 1..40).prop_map(move |lines| {
        let mut now = 0;
        let line = move |(step, mut line): (i64, Vec<u8>)| {
            now += step.max(least);
            line.retain(|b| *b != b'\n');
            line.push(b'\n');
            (now, line)
        };
        File(lines.into_iter().map(line).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// However often the stream breaks, and wherever, each byte is read once.
    #[test]
    fn a_stream_that_breaks_anywhere_loses_nothing(
        file in files(0),
        breaks in proptest::collection::vec((0..2000_usize, 1..50_usize, any::<bool>()), 0..8),
    ) {
        let mut cutter = Cutter::new(None);
        let mut out = Vec::new();
        for (length, step, restarts) in breaks {
            let stream = file.stream(cutter.since(), 0);
            for piece in stream[..length.min(stream.len())].chunks(step) {
                cutter.feed(piece, &mut out);
            }
            if restarts {
                let mark = cutter.mark().map(|m| m.to_string().parse().unwrap());
                cutter = Cutter::new(mark);
            } else {
                cutter.again();
            }
        }
        cutter.feed(&file.stream(cutter.since(), 0), &mut out);
        cutter.finish();
        prop_assert_eq!(out, file.bytes());
        prop_assert_eq!(cutter.gaps, 0);
    }

    /// What was rotated away before it was read is missing, and the log says so where it is missing. (Lines of the same
    /// nanosecond on both sides of a rotation could not be told apart.)
    #[test]
    fn what_was_rotated_away_is_declared(file in files(1), length in 0..2000_usize, rotated in 0..40_usize) {
        let mut cutter = Cutter::new(None);
        let mut out = Vec::new();
        let stream = file.stream(None, 0);
        cutter.feed(&stream[..length.min(stream.len())], &mut out);
        let before = out.len();
        cutter.again();
        let first = rotated.min(file.0.len() - 1);
        cutter.feed(&file.stream(cutter.since(), first), &mut out);
        cutter.finish();
        let all = file.bytes();
        prop_assert_eq!(&out[..before], &all[..before]);
        let gone: usize = file.0[..first].iter().map(|(_, line)| line.len()).sum();
        if gone <= before && before > 0 {
            // The last line that was read is there, or nothing but read lines is gone.
            let whole = cutter.gaps == 0 && out == all;
            prop_assert!(whole || cutter.gaps == 1, "{} gaps", cutter.gaps);
        }
        if cutter.gaps > 0 {
            let text = String::from_utf8_lossy(&out[before..]).into_owned();
            prop_assert!(text.contains(GAP));
            let tail = &out[before..];
            let at = tail.windows(GAP.len()).position(|w| w == GAP.as_bytes()).unwrap();
            prop_assert!(all.ends_with(&tail[at + GAP.len()..]));
        }
    }
}

const T4: &str = "2026-11-21T09:56:10.000000000Z";

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

#[test]
fn what_the_kubelet_passed_over_is_noticed() {
    let much = "x".repeat(48 * 1024);
    let stream = format!("{T1} {much}\n{T2} two\n{T4} much later\n{T4} and so on\n");
    let reading = || {
        let mut cutter = Cutter::new(None);
        cutter.opened(at(T1));
        cutter.arrived(SignedDuration::from_millis(10));
        assert_eq!(fed(&mut cutter, &stream), format!("{much}\ntwo\n"));
        assert!(cutter.jumped());
        // Nothing is read of this stream any more.
        assert_eq!(fed(&mut cutter, &format!("{T4} more\n")), "");
        assert_eq!(cutter.mark().unwrap().time, T2);
        cutter.again();
        cutter.opened(at(T4));
        cutter
    };
    // It was rotated away.
    let mut cutter = reading();
    let rest = fed(&mut cutter, &format!("{T4} much later\n{T4} and so on\n"));
    assert_eq!(rest, format!("{GAP}much later\nand so on\n"));
    assert_eq!((cutter.gaps, cutter.jumped()), (1, false));
    // It was not: the peon had nothing to say.
    let mut cutter = reading();
    assert_eq!(fed(&mut cutter, &stream), "much later\nand so on\n");
    assert_eq!((cutter.gaps, cutter.jumped()), (0, false));
}

/// An Indexer that was idle, and then got its task.
#[test]
fn pauses_at_the_beginning_of_a_file_are_believed() {
    let mut cutter = Cutter::new(None);
    cutter.opened(at(T4));
    let stream = format!("{T1} one\n{T2} two\n{T4} much later\n");
    assert_eq!(fed(&mut cutter, &stream), "one\ntwo\nmuch later\n");
    assert!(!cutter.jumped());
    // A stream that continues it is of the same file.
    cutter.again();
    cutter.opened(at(T4));
    let (later, last) = ("2026-11-21T09:56:40.000000000Z", "2026-11-21T09:56:50.000000000Z");
    let stream = format!("{T4} much later\n{later} more\n{last} the last\n");
    assert_eq!(fed(&mut cutter, &stream), "more\nthe last\n");
    assert!(!cutter.jumped());
    // Unless it does not have the last line: files were rotated.
    cutter.again();
    let (third, fourth) = ("2026-11-21T09:57:00.000000000Z", "2026-11-21T09:57:10.000000000Z");
    let fifth = "2026-11-21T09:57:20.000000000Z";
    cutter.opened(at(third));
    let stream = format!("{third} another file\n{fourth} and so on\n{fifth} and what?\n");
    assert_eq!(
        fed(&mut cutter, &stream),
        format!("{GAP}another file\nand so on\n")
    );
    assert!(cutter.jumped());
    // Who continues another process's reading does not know how much it read.
    let mut other = Cutter::new(cutter.mark().cloned());
    other.opened(at(third));
    let sixth = "2026-11-21T09:57:30.000000000Z";
    let stream = format!("{fourth} and so on\n{fifth} more\n{sixth} the last\n");
    assert_eq!(fed(&mut other, &stream), "more\n");
    assert!(other.jumped());
}

#[test]
fn who_reads_as_fast_as_it_is_written_believes_what_comes() {
    let mut cutter = Cutter::new(None);
    cutter.opened(at(T1));
    fed(&mut cutter, &format!("{T1} one\n"));
    // The peon said nothing for half a minute.
    cutter.arrived(SignedDuration::from_secs(32));
    assert_eq!(fed(&mut cutter, &format!("{T4} much later\n")), "much later\n");
    assert!(!cutter.jumped());
}

#[test]
fn what_was_written_long_before_the_stream_was_asked_for_stands_in_one_file() {
    let mut cutter = Cutter::new(None);
    cutter.opened(at("2026-11-21T10:55:00Z"));
    let rest = fed(&mut cutter, &format!("{T1} one\n{T4} much later\n"));
    assert_eq!(rest, "one\nmuch later\n");
}

/// The kubelet came to the end of a file that had just been rotated, and noticed the next rotation only.
#[test]
fn a_pause_after_much_without_one_is_not_believed() {
    let mut cutter = Cutter::new(None);
    cutter.opened(at(T1));
    let much = format!("{T1} {}\n{T2} two\n", "x".repeat(64 * 1024));
    fed(&mut cutter, &much);
    cutter.arrived(SignedDuration::from_secs(33));
    assert_eq!(fed(&mut cutter, &format!("{T4} much later\n")), "");
    assert!(cutter.jumped());
    // It is as it seems: what follows is not doubted again.
    cutter.again();
    cutter.opened(at(T4));
    assert_eq!(
        fed(&mut cutter, &format!("{T2} two\n{T4} much later\n")),
        "much later\n"
    );
    assert!(!cutter.jumped());
}
