use super::*;

const LOG: &[u8] = b"2026-11-30T10:00:00.5Z one\n2026-11-30T10:00:01Z \n2026-11-30T10:00:02+01:00 a two\nb\n\
    2026-11-30T10:00:03Z \n2026-11-30T10:00:03Z -----BEGIN PEON REPORT 2 \
    44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a-----\n2026-11-30T10:00:03Z \
    H4sIAAAAAAACA6uuBQBDv6ajAgAAAA==\n2026-11-30T10:00:03Z -----END PEON REPORT \
    44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a-----\n";

/// What is printed of a log that arrives in two pieces.
fn printed(mut lines: LogLines, log: &[u8], at: usize) -> String {
    let mut printed = lines.take(&log[..at]);
    printed.extend(lines.take(&log[at..]));
    printed.extend(lines.end());
    String::from_utf8(printed).unwrap()
}

#[test]
fn times_stay_with_their_lines_wherever_pieces_end() {
    let expected = "2026-11-30T10:00:00.5Z one\n2026-11-30T10:00:01Z \n2026-11-30T10:00:02+01:00 a two\nb\n";
    for at in 0..=LOG.len() {
        let lines = LogLines::of(None).with_times(true);
        assert_eq!(
            printed(lines, LOG, at).trim_end_matches('\n'),
            expected.trim_end(),
            "{at}"
        );
        let last = LogLines::of(None).with_times(true).last(Some(1));
        assert_eq!(printed(last, LOG, at).trim_end(), "b", "{at}");
    }
}

#[test]
fn lines_of_other_tasks_take_their_times_along() {
    let task = TaskLines {
        task_id: "mine".into(),
        pod_uid: "abcd-1".into(),
        since: Timestamp::UNIX_EPOCH,
    };
    let log = b"2026-11-30T10:00:00Z 2026-11-30T10:00:00,1 abcd INFO [][[other]-x] a - one\n\
        2026-11-30T10:00:01Z 2026-11-30T10:00:01,1 abcd WARN [][[mine]-x] a - two\n\
        2026-11-30T10:00:02Z java.lang.Exception\n\
        2026-11-30T10:00:03Z 2026-11-30T10:00:03,1 abcd INFO [][[other]-x] a - three\n";
    for at in 0..=log.len() {
        let lines = LogLines::of(Some(task.clone())).with_times(true);
        assert_eq!(
            printed(lines, log, at),
            "2026-11-30T10:00:01Z 2026-11-30T10:00:01,1 WARN [[mine]-x] a - two\n2026-11-30T10:00:02Z \
             java.lang.Exception\n",
            "{at}"
        );
    }
}

#[test]
fn the_last_lines_are_the_last_wherever_pieces_end() {
    let log = b"one\ntwo\n\nthree\nfour";
    for (most, expected) in [
        (Some(2), &b"three\nfour"[..]),
        (Some(3), b"\nthree\nfour"),
        (Some(0), b""),
        (Some(9), log),
        (None, log),
    ] {
        for at in 0..=log.len() {
            let mut tail = Tail::of(most);
            let mut printed = tail.take(&log[..at]).to_vec();
            printed.extend_from_slice(tail.take(&log[at..]));
            printed.extend(tail.end().flatten());
            assert_eq!(printed, expected, "{most:?} {at}");
        }
    }
}
