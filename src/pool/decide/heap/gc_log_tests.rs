use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
}

/// Reads a recorded log, each line when the JVM wrote it.
fn read(log: &str) -> GcLog {
    let mut gc = GcLog::default();
    for line in log.lines() {
        let written = pause(line).map_or(0, |pause| i64::try_from(pause.uptime).unwrap());
        gc.take(line, at(written), at(written));
    }
    gc
}

/// Seconds before the last line at which live heap and share of time first reached these percentages.
fn warned(log: &str, heap: u64, live: u64, time: u8) -> (Option<f64>, Option<f64>) {
    let mut gc = GcLog::default();
    let (mut by_live, mut by_time, mut end) = (None, None, 0);
    for line in log.lines() {
        let Some(pause) = pause(line) else { continue };
        end = pause.uptime;
        let now = at(i64::try_from(end).unwrap());
        gc.take(line, now, now);
        let reading = gc.reading(now);
        if reading.live.is_some_and(|found| found.bytes * 100 / heap >= live) {
            by_live.get_or_insert(end);
        }
        if reading.gc_percent >= time {
            by_time.get_or_insert(end);
        }
    }
    #[allow(clippy::cast_precision_loss)] // Milliseconds of minutes.
    let before = |since: Option<u64>| since.map(|since| (end - since) as f64 / 1000.0);
    (before(by_live), before(by_time))
}

/// Recorded with Java 17.0.15: programs that keep 4 KB of every 44 KB that they allocate, until the JVM ends.
const G1: &str = include_str!("g1_recorded.txt");
const SERIAL: &str = include_str!("serial_recorded.txt");

#[test]
fn the_lines_of_g1_and_serial_are_read() {
    let full =
        pause("[44.746s][gc] GC(4) Pause Full (Allocation Failure) 173M->172M(247M) 331.982ms").unwrap();
    assert_eq!(
        full,
        Pause {
            uptime: 44_746,
            kind: Kind::Live,
            after: 172 << 20,
            micros: 331_982
        }
    );
    for (text, kind) in [
        (
            "Pause Young (Normal) (G1 Evacuation Pause) 26M->6M(256M) 11.434ms",
            Kind::Other,
        ),
        (
            "Pause Young (Concurrent Start) (G1 Humongous Allocation) 26M->6M(256M) 1.000ms",
            Kind::Other,
        ),
        (
            "Pause Young (Mixed) (G1 Evacuation Pause) 26M->6M(256M) 1.000ms",
            Kind::Mixed,
        ),
        (
            "Pause Young (Allocation Failure) 68M->6M(247M) 11.786ms",
            Kind::Other,
        ),
        ("Pause Remark 26M->6M(256M) 6.899ms", Kind::Live),
        ("Pause Cleanup 26M->6M(256M) 0.132ms", Kind::Other),
        (
            "Pause Full (G1 Compaction Pause) 26M->6M(256M) 44.742ms",
            Kind::Live,
        ),
        ("Pause Full (System.gc()) 26M->6M(256M) 44.742ms", Kind::Live),
    ] {
        let read = pause(&format!("[1.500s][gc] GC(3) {text}")).unwrap();
        assert_eq!((read.kind, read.after), (kind, 6 << 20), "{text}");
        let padded = pause(&format!("[1.500s][info][gc          ] GC(3) {text}"));
        assert_eq!(padded, Some(read), "{text}");
    }
}

#[test]
fn other_lines_say_nothing() {
    for line in [
        "",
        "[",
        "[1.500s][gc] Using G1",
        "[64.993s][gc] GC(41) To-space exhausted",
        "[1.500s][gc] GC(42) Concurrent Mark Cycle 53.797ms",
        "[1.500s][gc] GC(3) Pause Young (Normal) (G1 Evacuation Pause)",
        "[1.500s][gc,start] GC(3) Pause Full (x) 1M->1M(2M) 1.000ms",
        "[1.5s][gc] GC(3) Pause Full (x) 1M->1M(2M) 1.000ms",
        "[99999999999999999999.500s][gc] GC(3) Pause Full (x) 1M->1M(2M) 1.000ms",
        "[1.500s][gc] GC(3) Pause Full (x) 1M->99999999999999999999M(2M) 1.000ms",
        "[1.500s][gc] GC(3) Pause Full (x) 1M->1é(2M) 1.000ms",
        "2026-11-30T05:00:00,000 8f3c2a52 INFO [][[a]-x] c - GC(3) Pause Full (x) 1M->1M(2M) 1.000ms",
        "Terminating due to java.lang.OutOfMemoryError: Java heap space",
    ] {
        assert_eq!(pause(line), None, "{line}");
    }
}

#[test]
fn recorded_logs_are_read_to_their_end() {
    for (log, heap) in [(G1, 256), (SERIAL, 247)] {
        let live = read(log).live.unwrap();
        assert!(live.bytes > (heap << 20) * 95 / 100, "{live:?}");
    }
}

/// The figures in `docs/shared-indexers.md`.
#[test]
fn a_heap_that_fills_up_is_noticed_before_it_is_full() {
    let (live, _) = warned(G1, 256 << 20, 80, 20);
    assert!(live.is_some_and(|seconds| seconds > 5.0), "{live:?}");
    // Serial collects the whole heap seldom: what it says comes late.
    let (live, _) = warned(SERIAL, 247 << 20, 70, 20);
    assert!(live.is_some());
}

#[test]
fn a_mixed_collection_lowers_what_marking_found_and_a_young_one_does_not() {
    let mut gc = GcLog::default();
    let mut take = |uptime: i64, text: &str| {
        let line = format!("[{uptime}.000s][gc] GC({uptime}) {text} 1.000ms");
        assert!(gc.take(&line, at(uptime * 1000), at(uptime * 1000)), "{line}");
        gc.live.map(|live| live.bytes >> 20)
    };
    assert_eq!(
        take(1, "Pause Young (Mixed) (G1 Evacuation Pause) 90M->40M(100M)"),
        None
    );
    assert_eq!(take(2, "Pause Remark 90M->80M(100M)"), Some(80));
    assert_eq!(
        take(3, "Pause Young (Normal) (G1 Evacuation Pause) 90M->20M(100M)"),
        Some(80)
    );
    assert_eq!(
        take(4, "Pause Young (Mixed) (G1 Evacuation Pause) 90M->60M(100M)"),
        Some(60)
    );
    assert_eq!(
        take(5, "Pause Young (Mixed) (G1 Evacuation Pause) 99M->70M(100M)"),
        Some(60)
    );
    assert_eq!(
        take(6, "Pause Full (G1 Compaction Pause) 99M->30M(100M)"),
        Some(30)
    );
}

#[test]
fn the_share_of_time_is_that_of_the_last_ten_seconds() {
    let mut gc = GcLog::default();
    let line =
        |seconds: i64| format!("[{seconds}.000s][gc] GC({seconds}) Pause Full (x) 9M->9M(10M) 500.000ms");
    // The clock of the node is an hour behind.
    let hour = SignedDuration::from_hours(1);
    for seconds in 1..=20 {
        gc.take(&line(seconds), at(seconds * 1000) - hour, at(seconds * 1000));
    }
    let percent = |millis| gc.reading(at(millis)).gc_percent;
    assert_eq!(percent(20_000), 50);
    assert_eq!(percent(25_500), 25, "five are left");
    assert_eq!(percent(40_000), 0);
    assert_eq!(percent(0), 50, "a clock that went back");
}

/// A stream that is opened again repeats lines, and a task cannot turn back the time of its JVM.
#[test]
fn lines_count_once() {
    let mut gc = GcLog::default();
    let line = "[5.000s][gc] GC(1) Pause Full (x) 9M->9M(10M) 500.000ms";
    assert!(gc.take(line, at(0), at(0)));
    gc.again();
    assert!(!gc.take(line, at(0), at(10)));
    assert!(!gc.take(&line.replace("[5.", "[4."), at(0), at(10)));
    assert_eq!(gc.reading(at(0)).gc_percent, 5);
    assert!(gc.take(&line.replace("[5.", "[6."), at(1000), at(1000)));
}
