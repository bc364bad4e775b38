//! Namespaces that share one operator: what one does keeps none of another's logs from being archived.

use std::convert::Infallible;

use axum::body::Body as Answer;
use futures::StreamExt;
use http::{Request, Response};
use kube::client::Body;
use object_store::memory::InMemory;
use tokio::sync::{Notify, Semaphore};

use super::spool::{Disk, PIECE};
use super::*;
use crate::logs::fixtures::{Faults, Faulty, archive_over};
use crate::logs::format::parts::LogRange;
use crate::logs::format::report::tests::block;
use crate::metrics::logs::LogMetrics;

const PATIENCE: Duration = Duration::from_secs(120);
const BUDGET: u64 = 16 * PIECE;

/// What a container wrote, as the API server sends it.
fn stream(log: &[u8]) -> Bytes {
    let mut stream = Vec::new();
    for (at, line) in log.split_inclusive(|b| *b == b'\n').enumerate() {
        stream.extend_from_slice(format!("2026-11-21T09:55:37.{at:09}Z ").as_bytes());
        stream.extend_from_slice(line);
    }
    stream.into()
}

/// Logs of pods: what they have written, and whether more may come.
type Pods = Arc<Mutex<HashMap<String, (Bytes, Arc<Semaphore>)>>>;

struct Tenants {
    followers: Followers,
    archive: Archive,
    woken: Arc<Notify>,
    pods: Pods,
    asked: Arc<Mutex<Vec<String>>>,
    budget: Shares,
}

impl Tenants {
    fn new(places: u64, faults: Arc<Faults>) -> Self {
        Self::with_budget(BUDGET, places, faults)
    }

    fn with_budget(most: u64, places: u64, faults: Arc<Faults>) -> Self {
        let archive = archive_over(Arc::new(Faulty::over(Arc::new(InMemory::new()), faults)));
        let (pods, asked, woken): (Pods, Arc<Mutex<Vec<String>>>, _) =
            (Pods::default(), Arc::default(), Arc::new(Notify::new()));
        let budget = Shares::fair(most);
        let limits = Limits {
            flush: Duration::from_secs(1),
            most: 1 << 30,
            disk: Disk {
                folder: std::env::temp_dir(),
                most,
                budget: budget.clone(),
            },
            uploads: Shares::fair(2),
            metrics: LogMetrics::default(),
        };
        let waker = woken.clone();
        let followers = Followers::new(
            api_server(pods.clone(), asked.clone()),
            archive.clone(),
            limits,
            Shares::fair(places),
            Box::new(move |_, _| waker.notify_one()),
        );
        Self {
            followers,
            archive,
            woken,
            pods,
            asked,
            budget,
        }
    }

    /// A pod wrote this, and ends when what is returned is closed.
    fn wrote(&self, namespace: &str, name: &str, log: &[u8]) -> Arc<Semaphore> {
        self.wrote_in(namespace, name, 1, log)
    }

    fn wrote_in(&self, namespace: &str, name: &str, attempt: u32, log: &[u8]) -> Arc<Semaphore> {
        let end = Arc::new(Semaphore::new(0));
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}-{attempt}/log");
        self.pods.lock().insert(path, (stream(log), end.clone()));
        end
    }

    fn ask(&self, namespace: &str, name: &str, ended: bool) -> LogState {
        self.ask_for(namespace, name, 1, (ended, ended))
    }

    fn ask_for(&self, namespace: &str, name: &str, attempt: u32, (ended, last): (bool, bool)) -> LogState {
        let owner = Owner {
            namespace: namespace.into(),
            name: name.into(),
            uid: uid(namespace, name),
            task_id: name.into(),
            created: None,
        };
        let ask = KeepLog {
            lines: None,
            last_line: None,
            attempt,
            pod: format!("{name}-{attempt}"),
            pod_uid: format!("{name}-{attempt}"),
            seen: true,
            container: "peon".into(),
            started: None,
            sidecar: false,
            ended,
            complete: false,
            last,
        };
        self.followers.keep(&owner, &ask).state
    }

    async fn until(&self, what: &str, is: impl Fn() -> bool) {
        let so = async {
            while !is() {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, so).await;
        assert!(waited.is_ok(), "{what}");
    }

    async fn archived(&self, namespace: &str, name: &str) -> u32 {
        let archived = async {
            loop {
                match self.ask(namespace, name, true) {
                    LogState::Archived { gaps, .. } => return gaps,
                    LogState::Nothing => panic!("{name} is lost"),
                    _ => {}
                }
                // Somebody else's news may have been taken for ours.
                let _ = tokio::time::timeout(Duration::from_millis(50), self.woken.notified()).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, archived).await;
        waited.unwrap_or_else(|_| {
            panic!(
                "{namespace}/{name} is not archived: {:?}",
                self.ask(namespace, name, true)
            )
        })
    }

    async fn log(&self, namespace: &str, name: &str) -> Vec<u8> {
        use futures::TryStreamExt;
        let task = self.archive.of_task(name, &uid(namespace, name)).unwrap();
        let content = task.read_log(LogRange::All).await.unwrap().unwrap();
        let bytes: Vec<Bytes> = content.bytes.try_collect().await.unwrap();
        bytes.concat()
    }

    async fn report(&self, namespace: &str, name: &str) -> Option<Bytes> {
        let task = self.archive.of_task(name, &uid(namespace, name)).unwrap();
        task.read_report().await.unwrap()
    }
}

fn uid(namespace: &str, name: &str) -> String {
    let of = |text: &str| {
        text.bytes()
            .fold(7_u64, |sum, b| sum * 31 % 0xffff_ffff + u64::from(b))
    };
    format!("{:08x}-7f0a-4b58-9d1f-{:012x}", of(namespace), of(name))
}

/// Sends what a pod wrote, and then nothing until it ends.
fn api_server(pods: Pods, asked: Arc<Mutex<Vec<String>>>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        let found = pods.lock().get(&path).cloned();
        let of_pod = pods.lock().contains_key(&format!("{path}/log"));
        if of_pod {
            return std::future::ready(Ok::<_, Infallible>(Response::new(pod(&path))));
        }
        asked.lock().push(path);
        let answer = match found {
            Some((text, end)) => {
                let pieces: Vec<Bytes> = text.chunks(100_000).map(|piece| text.slice_ref(piece)).collect();
                let rest = futures::stream::once(async move {
                    let _closed = end.acquire().await.is_err();
                    Bytes::new()
                });
                let all = futures::stream::iter(pieces).chain(rest).map(Ok::<_, Infallible>);
                Response::new(Answer::from_stream(all))
            }
            None => Response::builder().status(404).body(Answer::from("{}")).unwrap(),
        };
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    Client::new(service, "default")
}

/// The metadata of the pod at this path; its uid is its name.
fn pod(path: &str) -> Answer {
    let name = path.rsplit('/').next().unwrap();
    let pod = serde_json::json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": name, "uid": name}});
    Answer::from(pod.to_string())
}

#[tokio::test]
async fn logs_that_do_not_end_leave_places_for_another_namespace() {
    let tenants = Tenants::new(4, Arc::new(Faults::none()));
    let names: Vec<String> = (0..20).map(|n| format!("stream-{n}")).collect();
    let ends: Vec<_> = names
        .iter()
        .map(|n| tenants.wrote("flood", n, b"for days\n"))
        .collect();
    for name in &names {
        let _ = tenants.ask("flood", name, false);
    }
    tenants
        .until("nobody reads", || tenants.asked.lock().len() >= 2)
        .await;
    tenants.wrote("quiet", "nightly", b"one\n").close();
    assert_eq!(tenants.archived("quiet", "nightly").await, 0);
    assert_eq!(tenants.log("quiet", "nightly").await, b"one\n");
    assert_eq!(
        tenants
            .asked
            .lock()
            .iter()
            .filter(|p| p.contains("/flood/"))
            .count(),
        2
    );
    // The others have their turn, one after the other.
    for end in ends {
        end.close();
    }
    for name in &names {
        assert_eq!(tenants.archived("flood", name).await, 0);
        assert_eq!(tenants.log("flood", name).await, b"for days\n");
    }
}

/// What may be a report cannot be archived before its end is seen. It gives way where it takes too much.
#[tokio::test]
async fn blocks_without_an_end_fill_no_disk_and_keep_nobody_from_reading() {
    let tenants = Tenants::new(20, Arc::new(Faults::none()));
    let report = b"{\"rows\": 1}".repeat(1000);
    let mut endless = b"a line\n-----BEGIN PEON REPORT 8388608 00-----\n".to_vec();
    endless.extend_from_slice(("A".repeat(76) + "\n").repeat(30_000).as_bytes());
    let names: Vec<String> = (0..6).map(|n| format!("block-{n}")).collect();
    let ends: Vec<_> = names
        .iter()
        .map(|n| tenants.wrote("flood", n, &endless))
        .collect();
    for name in &names {
        let _ = tenants.ask("flood", name, false);
    }
    tenants
        .until("nobody reads", || tenants.budget.free() < BUDGET * 3 / 4)
        .await;
    let real = [b"one\n".as_slice(), &block(&report)].concat();
    tenants.wrote("quiet", "nightly", &real).close();
    assert_eq!(tenants.archived("quiet", "nightly").await, 0);
    assert_eq!(tenants.log("quiet", "nightly").await, b"one\n\n");
    assert_eq!(tenants.report("quiet", "nightly").await.unwrap(), report);
    for end in ends {
        end.close();
    }
    for name in &names {
        assert_eq!(tenants.archived("flood", name).await, 0);
        assert!(
            tenants.log("flood", name).await == endless,
            "{name}: what is no report is the log's"
        );
        assert_eq!(tenants.report("flood", name).await, None);
    }
    tenants
        .until("something is kept", || tenants.budget.free() == BUDGET)
        .await;
}

/// A store that is down for all fills the disk of nobody beyond its share, and what has waited is archived when it is up.
#[tokio::test]
async fn what_waits_for_a_store_has_a_bound() {
    let faults = Arc::new(Faults::down());
    let tenants = Tenants::new(20, faults.clone());
    let long = ("x".repeat(99) + "\n").repeat(30_000);
    let names: Vec<String> = (0..6).map(|n| format!("long-{n}")).collect();
    let ends: Vec<_> = names
        .iter()
        .map(|name| tenants.wrote("flood", name, long.as_bytes()))
        .collect();
    for name in &names {
        let _ = tenants.ask("flood", name, false);
    }
    tenants
        .until("nobody reads", || tenants.budget.free() < BUDGET * 3 / 4)
        .await;
    faults.up();
    for end in ends {
        end.close();
    }
    for name in &names {
        assert_eq!(tenants.archived("flood", name).await, 0);
        assert!(tenants.log("flood", name).await == long.as_bytes(), "{name}");
    }
    assert!(tenants.budget.free() >= BUDGET / 2);
    tenants
        .until("something is kept", || tenants.budget.free() == BUDGET)
        .await;
}

/// Bytes that no compression makes shorter.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// The report of an attempt that another one follows is nobody's.
#[tokio::test]
async fn the_report_of_an_earlier_attempt_takes_no_room_from_the_next_one() {
    let tenants = Tenants::with_budget(2 * PIECE, 2, Arc::new(Faults::none()));
    let first = [b"one\n".as_slice(), &block(&noise(200_000))].concat();
    tenants.wrote_in("ns", "nightly", 1, &first).close();
    let report = b"{\"rows\": 2}";
    let second = [b"two\n".as_slice(), &block(report)].concat();
    tenants.wrote_in("ns", "nightly", 2, &second).close();
    let _ = tenants.ask_for("ns", "nightly", 1, (true, false));
    let ask = || tenants.ask_for("ns", "nightly", 2, (true, true));
    let archived = async {
        while !matches!(ask(), LogState::Archived { gaps: 0, .. }) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), archived).await;
    assert!(waited.is_ok(), "{:?}, free {}", ask(), tenants.budget.free());
    assert_eq!(tenants.report("ns", "nightly").await.unwrap(), report.as_slice());
}

#[tokio::test]
async fn what_waits_for_a_store_is_kept_when_the_task_is_deleted() {
    for began_down in [true, false] {
        let faults = Arc::new(if began_down {
            Faults::down()
        } else {
            Faults::none()
        });
        let tenants = Tenants::new(2, faults.clone());
        let long = ("x".repeat(99) + "\n").repeat(21_000);
        if !began_down {
            tenants.wrote("ns", "other", b"one\n").close();
            assert_eq!(tenants.archived("ns", "other").await, 0);
        }
        let end = tenants.wrote("ns", "long", long.as_bytes());
        let _ = tenants.ask("ns", "long", false);
        tenants
            .until("it is not read", || {
                tenants.asked.lock().iter().any(|p| p.contains("long"))
            })
            .await;
        faults.fail();
        tenants
            .until("it is not read", || tenants.budget.free() <= BUDGET - 4 * PIECE)
            .await;
        tenants.followers.gone(&uid("ns", "long"), LastWord::NoVerdict);
        end.close();
        tokio::time::sleep(Duration::from_secs(5)).await;
        faults.up();
        let task = tenants.archive.of_task("long", &uid("ns", "long")).unwrap();
        let composed = async {
            while !task.is_composed().await.unwrap() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, composed).await.unwrap();
        let kept = tenants.log("ns", "long").await;
        assert!(kept.starts_with(long.as_bytes()), "{} bytes", kept.len());
    }
}

#[tokio::test]
async fn a_deleted_task_that_finds_no_room_gives_its_place_back() {
    let tenants = Tenants::with_budget(2 * PIECE, 2, Arc::new(Faults::none()));
    let others = tenants.budget.try_acquire("ns", PIECE).unwrap();
    let _open = tenants.wrote("ns", "nightly", b"one\n");
    let _ = tenants.ask("ns", "nightly", false);
    tenants
        .until("nobody reads", || !tenants.asked.lock().is_empty())
        .await;
    let uid = uid("ns", "nightly");
    tenants.followers.gone(&uid, LastWord::NoVerdict);
    let task = tenants.archive.of_task("nightly", &uid).unwrap();
    let composed = async {
        while !task.is_composed().await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), composed).await;
    assert!(waited.is_ok());
    let log = tenants.log("ns", "nightly").await;
    assert!(log.starts_with(b"[peon-operator] the end of the log may be missing"));
    drop(others);
}
