use std::os::unix::fs::MetadataExt;

use super::*;
use crate::logs::follower::decide::log_mark::Hash;

fn mark(read: u64) -> LogMark {
    LogMark {
        time: "2026-11-21T09:55:37.100000000Z".into(),
        nth: 1,
        read,
        whole: true,
        hash: Hash::default().0,
    }
}

fn disk(most: u64, budget: u64) -> Disk {
    Disk {
        folder: std::env::temp_dir(),
        most,
        budget: Shares::fair(budget),
    }
}

async fn spool(most: u64) -> Spool {
    Spool::create(&disk(most, 1 << 30), "ns").await.unwrap()
}

async fn add(spool: &mut Spool, bytes: &[u8], at: u64) {
    spool.append(bytes).await.unwrap();
    spool.count(bytes.len() as u64, &mark(at));
}

#[tokio::test]
async fn what_comes_while_a_part_is_written_is_the_next_parts() {
    let mut spool = spool(1 << 30).await;
    assert_eq!(spool.next().await.unwrap(), None);
    add(&mut spool, b"one", 3).await;
    add(&mut spool, b"two", 6).await;
    let first = spool.next().await.unwrap().unwrap();
    assert_eq!((first.bytes.as_slice(), &first.mark), (&b"onetwo"[..], &mark(6)));
    add(&mut spool, b"three", 11).await;
    spool.release(6).await.unwrap();
    assert_eq!(spool.pending(), 5);
    let second = spool.next().await.unwrap().unwrap();
    assert_eq!(
        (second.bytes.as_slice(), &second.mark),
        (&b"three"[..], &mark(11))
    );
    spool.release(5).await.unwrap();
    // The file is empty again and is filled from its beginning.
    add(&mut spool, b"four", 15).await;
    assert_eq!(spool.next().await.unwrap().unwrap().bytes, b"four");
}

#[tokio::test]
async fn parts_have_a_bound_however_much_waits() {
    let mut spool = spool(20 << 20).await;
    let piece = vec![b'x'; 1 << 20];
    let mut all = 0;
    while !spool.is_full() {
        all += piece.len() as u64;
        add(&mut spool, &piece, all).await;
    }
    let mut read = 0;
    while let Some(slice) = spool.next().await.unwrap() {
        assert!(slice.bytes.len() as u64 <= STEP + (1 << 20));
        read += slice.bytes.len() as u64;
        assert_eq!(slice.mark, mark(read));
        spool.release(slice.bytes.len() as u64).await.unwrap();
    }
    assert_eq!((read, spool.pending()), (all, 0));
}

/// A log that is written as fast as it is archived never has nothing that waits.
#[tokio::test]
async fn a_file_takes_no_more_than_what_waits() {
    let mut spool = spool(1 << 30).await;
    let piece = vec![b'x'; 1 << 20];
    let (mut all, mut most) = (0, 0);
    for _ in 0..64 {
        for _ in 0..5 {
            all += piece.len() as u64;
            assert!(spool.try_grow() || spool.used() > 0);
            add(&mut spool, &piece, all).await;
        }
        while spool.pending() > STEP {
            let slice = spool.next().await.unwrap().unwrap();
            spool.release(slice.bytes.len() as u64).await.unwrap();
        }
        most = most.max(spool.file.metadata().unwrap().blocks() * 512);
        assert!(spool.pending() > 0);
    }
    assert!(
        most < 32 << 20 || !spool.can_free,
        "{most} bytes of {all} were on disk"
    );
    assert!(spool.used() < 32 << 20 || !spool.can_free);
}

/// Fills it for as long as it has room, and says how much that was.
async fn fill(spool: &mut Spool) -> u64 {
    let piece = vec![b'x'; 64 * 1024];
    let mut all = 0;
    while spool.try_grow() {
        all += piece.len() as u64;
        add(spool, &piece, all).await;
    }
    all
}

#[tokio::test]
async fn all_spools_together_have_a_bound_and_each_namespace_its_share() {
    const BUDGET: u64 = 32 << 20;
    let disk = disk(8 << 20, BUDGET);
    let mut floods = Vec::new();
    let mut filled = 0;
    for _ in 0..20 {
        let mut spool = Spool::create(&disk, "flood").await.unwrap();
        filled += fill(&mut spool).await;
        floods.push(spool);
    }
    assert!(filled > BUDGET / 4 && filled <= BUDGET / 2, "{filled}");
    let mut quiet = Spool::create(&disk, "quiet").await.unwrap();
    assert!(
        fill(&mut quiet).await >= 7 << 20,
        "the other one's log is read on"
    );
    // What is archived is room for those that wait, of whom the one with less is first.
    let mut waits = Box::pin(floods[19].room());
    assert!(futures::poll!(&mut waits).is_pending());
    let first = floods[0].next().await.unwrap().unwrap().bytes.len() as u64;
    floods[0].release(first).await.unwrap();
    while let Some(slice) = floods[0].next().await.unwrap() {
        floods[0].release(slice.bytes.len() as u64).await.unwrap();
    }
    let more = waits.await;
    floods[19].grow(more);
    assert!(floods[19].has_room());
    drop((floods, quiet));
    assert_eq!(disk.budget.free(), BUDGET);
}

#[tokio::test]
async fn what_may_be_a_report_stands_behind_the_log() {
    let report = b"{}".repeat(10_000);
    let block = report::tests::block(&report);
    let block = &block[1..];
    let disk = disk(1 << 30, 64 << 20);
    let mut spool = Spool::create(&disk, "ns").await.unwrap();
    assert!(spool.try_grow());
    add(&mut spool, b"the log\n", 8).await;
    spool.append(block).await.unwrap();
    assert_eq!((spool.pending(), spool.held()), (8, block.len() as u64));
    let slice = spool.next().await.unwrap().unwrap();
    assert_eq!(slice.bytes, b"the log\n");
    spool.release(8).await.unwrap();
    assert_eq!(spool.next().await.unwrap(), None);
    let mut found = spool.report().await.unwrap().unwrap();
    spool.end_with(&mut found);
    assert!(
        disk.budget.free() < 64 << 20,
        "it is counted for as long as it is there"
    );
    assert_eq!(found.read().await.unwrap(), report);
    assert_eq!(
        found.read().await.unwrap(),
        report,
        "as often as the store has to be asked"
    );
    drop(found);
    assert_eq!(disk.budget.free(), 64 << 20);

    let mut spool = self::spool(1 << 30).await;
    spool.append(&block[..block.len() - 1]).await.unwrap();
    assert!(spool.report().await.unwrap().is_none());
    spool.cut(5);
    spool.append(b"and more").await.unwrap();
    spool.count(13, &mark(13));
    let all = [&block[..5], b"and more"].concat();
    assert_eq!(spool.next().await.unwrap().unwrap().bytes, all);
}
