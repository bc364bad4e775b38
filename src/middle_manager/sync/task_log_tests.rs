use axum::body::HttpBody;
use http_body_util::BodyExt;
use proptest::prelude::*;

use super::*;
use crate::middle_manager::model_api::{Bench, Fault};

async fn read(bench: &Bench, offset: i64) -> Bytes {
    let log = Log::Pod {
        pod: "p".into(),
        container: "peon".into(),
        lines: None,
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
    for pod in 0..PLACES {
        assert_eq!(read(&bench, 0).await, "x\n");
        bench.server.lock().logs.insert(pod.to_string(), "x\n".into());
    }
    let log = |pod: String| Log::Pod {
        pod,
        container: "peon".into(),
        lines: None,
    };
    for offset in [0, -2] {
        let mut open = Vec::new();
        for pod in 0..PLACES {
            open.push(bench.logs().read(log(pod.to_string()), offset).await.unwrap());
        }
        assert!(read(&bench, 0).await.starts_with(b"[peon-operator]"));
        open.pop();
        assert_eq!(read(&bench, 0).await, "x\n");
    }
    assert!(bench.logs().readers.lock().is_empty());
}

#[tokio::test]
async fn one_log_takes_only_its_share_of_the_places() {
    let bench = bench("x\n");
    bench.server.lock().logs.insert("q".into(), "y\n".into());
    let log = |pod: &str| Log::Pod {
        pod: pod.to_owned(),
        container: "peon".into(),
        lines: None,
    };
    let mut open = Vec::new();
    for _ in 0..PER_LOG {
        open.push(bench.logs().read(log("p"), 0).await.unwrap());
    }
    assert!(read(&bench, 0).await.starts_with(b"[peon-operator]"));
    let other = bench.logs().read(log("q"), 0).await.unwrap();
    assert_eq!(other.collect().await.unwrap().to_bytes(), "y\n");
}

/// Whoever does not fetch what was asked for holds no more than there is room for, however many ask.
#[tokio::test]
async fn the_ends_of_logs_are_held_within_a_budget() {
    let bench = bench("");
    let all = "a line of a usual length, as loggers write it, of eighty characters or so\n".repeat(150_000);
    assert!(all.len() > MOST_TAIL);
    let mut held = Vec::new();
    let mut refused = 0;
    for pod in 0..PLACES {
        bench.server.lock().logs.insert(pod.to_string(), all.clone());
        let log = Log::Pod {
            pod: pod.to_string(),
            container: "peon".into(),
            lines: None,
        };
        // As much as there is.
        let body = bench.logs().read(log, i64::MIN).await.unwrap();
        if body.size_hint().exact().is_some() {
            let said = body.collect().await.unwrap().to_bytes();
            assert!(said.starts_with(b"[peon-operator]"), "{said:?}");
            refused += 1;
        } else {
            held.push(body);
        }
        bench.server.lock().logs.remove(&pod.to_string());
    }
    assert!(held.len() * MOST_TAIL <= TAILS, "{}", held.len());
    assert!(refused > 0 && !held.is_empty());
    // A short one finds room, and once they are fetched there is all of it again.
    bench.server.lock().logs.insert("p".into(), all);
    assert_eq!(read(&bench, -50_000).await.len(), 50_000);
    for body in held {
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), MOST_TAIL);
    }
    assert_eq!(bench.logs().tails.available_permits(), TAILS / BLOCK);
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
    fn a_long_tail_is_the_end_in_few_blocks(pieces in proptest::collection::vec(0..100_000_usize, 0..20), most in 1..300_000_usize) {
        let mut tail = Tail::new(most);
        let mut all = Vec::new();
        for (n, length) in pieces.into_iter().enumerate() {
            let piece = vec![u8::try_from(n).unwrap(); length];
            tail.push(&piece);
            all.extend(piece);
            prop_assert!(tail.blocks.len() <= tail.most_blocks());
        }
        let end = &all[all.len().saturating_sub(most)..];
        prop_assert_eq!(&tail.into_blocks().iter().flatten().copied().collect::<Vec<_>>()[..], end);
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
        prop_assert!(tail.blocks.len() <= tail.most_blocks());
        prop_assert_eq!(&tail.into_blocks().iter().flatten().copied().collect::<Vec<_>>()[..], end);
    }
}
