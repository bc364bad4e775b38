//! Random histories: processes begin, end and are killed, announcing pods are replaced, the API server is silent.

use super::druid_reader::DruidReader;
use super::pod_server::PodServer;
use super::tests::{ADDRESS, POD, announcer, process};
use super::*;
use crate::middle_manager::discovery::announce::Announcer;

const HISTORIES: u64 = 100;
const EVENTS: u8 = 12;

/// `SplitMix64`: the same numbers for a seed on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Cluster {
    server: PodServer,
    live: Vec<(String, Announcer)>,
    begun: u8,
}

impl Cluster {
    /// A process in a pod of its own.
    fn begin(&mut self) {
        self.begun += 1;
        let pod = format!("p{}", self.begun);
        self.server.serving(&pod);
        let announcer = announcer(&self.server, process(&pod, self.begun));
        self.live.push((pod, announcer));
    }

    async fn event(&mut self, random: &mut Random) {
        let some = usize::try_from(random.below(64)).unwrap() % self.live.len().max(1);
        match random.below(9) {
            0 | 1 => self.begin(),
            2 if self.live.len() > 1 => {
                let (pod, announcer) = self.live.remove(some);
                // Without an answer of the API server it says that the announcement may remain.
                let _ = announcer.stop().await;
                self.server.delete(&pod);
            }
            3 if self.live.len() > 1 => {
                let (pod, announcer) = self.live.remove(some);
                announcer.stop_at_once().await;
                // Its node may be lost, so that the pod goes later.
                if random.is(70) {
                    self.server.delete(&pod);
                }
            }
            4 => self.server.delete(POD),
            5 => {
                self.server.delete(POD);
                self.server.announcing(POD, random.is(50));
            }
            6 => self.server.ready(POD, random.is(50)),
            7 => self.server.down(random.is(50)),
            _ => self
                .server
                .unlabel(POD, "druidDiscoveryAnnouncement-middleManager"),
        }
        tokio::time::sleep(Duration::from_millis(random.below(20_000))).await;
    }
}

async fn history(seed: u64) {
    let mut random = Random(seed);
    let server = PodServer::default();
    server.announcing(POD, true);
    let mut cluster = Cluster {
        server: server.clone(),
        live: Vec::new(),
        begun: 0,
    };
    cluster.begin();
    for _ in 0..EVENTS {
        cluster.event(&mut random).await;
    }
    // The faults end. Killed processes are replaced, and their pods go.
    server.down(false);
    if server.pod(POD).is_none() {
        server.announcing(POD, true);
    }
    server.ready(POD, true);
    let alive: Vec<String> = cluster.live.iter().map(|(pod, _)| format!("{pod}/1")).collect();
    server.keep_only(&alive.iter().map(|p| p.trim_end_matches("/1")).collect::<Vec<_>>());
    let settled = async {
        loop {
            // Reading fails where a list of an overlord would.
            let reader = DruidReader::of(&server.history());
            if reader
                .workers
                .get(ADDRESS)
                .is_some_and(|w| alive.contains(&w.instance))
            {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_secs(600), settled).await;
    assert!(
        settled.is_ok(),
        "seed {seed}: {:?}, alive {alive:?}",
        server.pod(POD)
    );
    for (_, announcer) in cluster.live {
        announcer.stop().await.unwrap();
    }
    let reader = DruidReader::of(&server.history());
    assert!(reader.workers.is_empty(), "seed {seed}: {reader:?}");
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_a_live_process_is_announced_in_the_end_and_no_list_fails() {
    for seed in 0..HISTORIES {
        history(seed).await;
    }
}
