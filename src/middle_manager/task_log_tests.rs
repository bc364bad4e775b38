use http_body_util::BodyExt;
use proptest::prelude::*;

use super::*;
use crate::middle_manager::model::{Bench, Fault};

async fn read(bench: &Bench, offset: i64) -> Bytes {
    let log = Log::Pod {
        pod: "p".into(),
        container: "peon".into(),
    };
    let body = bench.logs().read(log, offset).await.unwrap();
    body.collect().await.unwrap().to_bytes()
}

fn bench(log: &str) -> Bench {
    let bench = Bench::new();
    bench.server.lock().logs.insert("p".into(), log.to_owned());
    bench
}

#[tokio::test]
async fn what_cannot_be_read_is_said_in_place_of_the_log() {
    let bench = Bench::new();
    assert_eq!(read(&bench, 0).await, "", "the pod is gone");
    bench.server.lock().outage = Some(Fault::Refused(500));
    for offset in [0, -10] {
        let said = read(&bench, offset).await;
        assert!(
            said.starts_with(b"[peon-operator] the log cannot be read now: "),
            "{said:?}"
        );
    }
}

#[tokio::test]
async fn the_end_of_a_log_costs_one_request_unless_its_lines_are_short() {
    let bench =
        bench(&"a line of a usual length, as loggers write it, of eighty characters or so\n".repeat(5000));
    assert_eq!(read(&bench, -16_000).await.len(), 16_000);
    assert_eq!(bench.server.lock().count("log"), 1);
    let query = bench.server.lock().requests[0].1.clone();
    assert!(
        query.contains("container=peon") && query.contains("tailLines=251"),
        "{query}"
    );
    let bench = self::bench(&"\n".repeat(20_000));
    assert_eq!(read(&bench, -16_000).await, "\n".repeat(16_000));
    assert_eq!(bench.server.lock().count("log"), 2);
    let bench = self::bench("short\n");
    assert_eq!(read(&bench, -16_000).await, "short\n");
    assert_eq!(bench.server.lock().count("log"), 1, "that was all of it");
    assert_eq!(read(&bench, i64::MIN).await, "short\n");
}

#[tokio::test]
async fn a_place_is_given_back_when_the_log_was_read() {
    let bench = bench("x\n");
    for _ in 0..PLACES {
        assert_eq!(read(&bench, 0).await, "x\n");
    }
    let log = || Log::Pod {
        pod: "p".into(),
        container: "peon".into(),
    };
    let mut open = Vec::new();
    for _ in 0..PLACES {
        open.push(bench.logs().read(log(), 0).await.unwrap());
    }
    assert!(read(&bench, 0).await.starts_with(b"[peon-operator]"));
    open.pop();
    assert_eq!(read(&bench, 0).await, "x\n");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn an_offset_means_bytes(lines in proptest::collection::vec("[a-zü]{0,200}", 0..50), offset in -3000..3000_i64) {
        let log = lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect::<String>();
        let bytes = log.as_bytes();
        let many = usize::try_from(offset.unsigned_abs()).unwrap();
        let expected = match offset {
            0.. => bytes.get(many..).unwrap_or_default(),
            _ => &bytes[bytes.len().saturating_sub(many)..],
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async { read(&bench(&log), offset).await });
        prop_assert_eq!(&found[..], expected);
    }

    #[test]
    fn a_tail_is_the_end_however_it_comes_in(pieces in proptest::collection::vec("[a-c\n]{0,9}", 0..30), most in 1..20_usize) {
        let all = pieces.concat();
        let mut tail = Tail::new(most);
        for piece in &pieces {
            tail.push(piece.as_bytes());
        }
        prop_assert_eq!(tail.lines, all.matches('\n').count());
        prop_assert_eq!(tail.is_full(), all.len() >= most);
        let end = &all.as_bytes()[all.len().saturating_sub(most)..];
        prop_assert_eq!(&tail.into_bytes()[..], end);
    }
}
