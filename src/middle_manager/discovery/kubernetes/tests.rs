use super::druid_reader::{CLUSTER, Change, DruidReader};
use super::pod_server::{MANAGER, NAMESPACE, PodServer};
use super::*;
use crate::middle_manager::discovery::announce::{AnnouncementState, Announcer, States};

pub(super) const POD: &str = "ingestion-vmm-0";
pub(super) const ADDRESS: &str = "ingestion-vmm-0.druid.svc:8091";

fn worker(ordinal: u16, capacity: u32) -> Worker {
    Worker {
        host: format!("ingestion-vmm-{ordinal}.druid.svc"),
        port: 8091,
        tls: false,
        ip: "10.96.0.7".into(),
        capacity,
        category: "c".into(),
        version: "0".into(),
    }
}

pub(super) fn process(pod: &str, second: u8) -> Process {
    Process {
        instance: format!("{pod}/1"),
        started: format!("2026-11-21T01:55:{second:02}Z").parse().unwrap(),
    }
}

/// A process that announces identity 0.
pub(super) fn announcer(server: &PodServer, process: Process) -> Announcer {
    let kubernetes = Kubernetes::new(server.client(), NAMESPACE, MANAGER, CLUSTER, process);
    let announcer = Announcer::start(kubernetes);
    announcer.announce(Ordinal(0), worker(0, 10));
    announcer
}

async fn until(announcer: &Announcer, what: impl Fn(&AnnouncementState) -> bool) -> AnnouncementState {
    let mut states = announcer.states();
    let is = |states: &States| states.get(&Ordinal(0)).is_some_and(&what);
    let waited = tokio::time::timeout(Duration::from_secs(300), states.wait_for(is)).await;
    waited.expect("within five minutes").unwrap()[&Ordinal(0)].clone()
}

fn seen(server: &PodServer) -> DruidReader {
    DruidReader::of(&server.history())
}

fn instance(server: &PodServer) -> Option<String> {
    seen(server).workers.get(ADDRESS).map(|w| w.instance.clone())
}

#[tokio::test(start_paused = true)]
async fn a_reader_sees_each_identity_on_its_own_pod_until_the_process_ends() {
    let server = PodServer::default();
    for pod in ["ingestion-vmm-0", "ingestion-vmm-1", "ingestion-vmm-2"] {
        server.announcing(pod, true);
    }
    let process = announcer(&server, process("p", 1));
    process.announce(Ordinal(1), worker(1, 10));
    let mut states = process.states();
    let both = |states: &States| states.len() == 2 && states.values().all(AnnouncementState::announced);
    states.wait_for(both).await.unwrap();
    let expected = [ADDRESS, "ingestion-vmm-1.druid.svc:8091"];
    assert_eq!(seen(&server).workers.keys().collect::<Vec<_>>(), expected);
    assert_eq!(server.patches(), 2, "labels and annotation together");
    // Fewer identities.
    process.withdraw(&Ordinal(1));
    states.wait_for(|states| states.len() == 1).await.unwrap();
    assert_eq!(seen(&server).workers.keys().collect::<Vec<_>>(), [ADDRESS]);
    process.stop().await.unwrap();
    assert!(seen(&server).workers.is_empty());
    let pod = server.pod(POD).unwrap();
    assert!(
        !pod.to_string().contains("druidDiscovery") && !pod.to_string().contains("druidNodeInfo"),
        "{pod}"
    );
}

#[tokio::test(start_paused = true)]
async fn another_capacity_is_a_removal_and_another_announcement() {
    let server = PodServer::default();
    server.announcing(POD, true);
    let process = announcer(&server, process("p", 1));
    until(&process, AnnouncementState::announced).await;
    process.announce(Ordinal(0), worker(0, 20));
    let other_capacity = async {
        while seen(&server)
            .workers
            .get(ADDRESS)
            .is_none_or(|w| w.capacity != 20)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), other_capacity)
        .await
        .unwrap();
    let changes = seen(&server).changes;
    assert!(
        matches!(
            &changes[..],
            [Change::Added(..), Change::Removed(_), Change::Added(..)]
        ),
        "{changes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_younger_process_takes_over_and_the_older_one_leaves_it_alone() {
    let server = PodServer::default();
    server.announcing(POD, true);
    server.serving("old");
    let old = announcer(&server, process("old", 1));
    until(&old, AnnouncementState::announced).await;
    server.serving("new");
    let new = announcer(&server, process("new", 2));
    until(&new, AnnouncementState::announced).await;
    let superseded = Presence::Superseded { by: "new/1".into() };
    until(&old, |state| state.presence == superseded).await;
    old.stop().await.unwrap();
    assert_eq!(instance(&server).as_deref(), Some("new/1"));
    let changes = seen(&server).changes;
    assert_eq!(
        changes.len(),
        3,
        "one removal, and never two at the same time: {changes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_announced_stays_until_another_one_replaces_it() {
    let server = PodServer::default();
    server.announcing(POD, true);
    server.serving("old");
    server.serving("new");
    let old = announcer(&server, process("old", 1));
    until(&old, AnnouncementState::announced).await;
    let new = announcer(&server, process("new", 2));
    until(&new, AnnouncementState::announced).await;
    until(&old, |state| !state.announced()).await;
    // Killed: it withdraws nothing.
    let kill = new.stop_at_once();
    kill.await;
    assert_eq!(instance(&server).as_deref(), Some("new/1"));
    // While nothing serves the identity, the announcing pod is not ready, and the overlord does not see it.
    server.ready(POD, false);
    assert_eq!(instance(&server), None);
    server.ready(POD, true);
    assert_eq!(instance(&server).as_deref(), Some("new/1"));
    // The older one gets it back when the pod of the younger one is gone.
    server.delete("new");
    until(&old, AnnouncementState::announced).await;
    assert_eq!(instance(&server).as_deref(), Some("old/1"));
}

#[tokio::test(start_paused = true)]
async fn a_new_announcing_pod_gets_the_announcement() {
    let server = PodServer::default();
    let process = announcer(&server, process("p", 1));
    let state = until(&process, |state| {
        state.error.as_deref().is_some_and(|e| e.contains("not exist"))
    })
    .await;
    assert_eq!(state.presence, Presence::Absent);
    server.announcing(POD, false);
    until(&process, |state| {
        state.error.as_deref().is_some_and(|e| e.contains("not ready"))
    })
    .await;
    assert!(seen(&server).workers.is_empty());
    server.ready(POD, true);
    until(&process, AnnouncementState::announced).await;
    // Evicted, and made anew by its StatefulSet.
    server.delete(POD);
    until(&process, |state| !state.announced()).await;
    assert!(seen(&server).workers.is_empty());
    server.announcing(POD, true);
    until(&process, AnnouncementState::announced).await;
    assert_eq!(instance(&server).as_deref(), Some("p/1"));
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_silent_the_announcement_stays() {
    let server = PodServer::default();
    server.announcing(POD, true);
    let process = announcer(&server, process("p", 1));
    until(&process, AnnouncementState::announced).await;
    server.down(true);
    let state = until(&process, |state| state.error.is_some()).await;
    assert_eq!(state.presence, Presence::Announced, "{state:?}");
    server.down(false);
    let state = until(&process, |state| state.error.is_none()).await;
    assert!(state.announced());
    // It is withdrawn as soon as somebody answers, and otherwise this is said.
    server.down(true);
    let error = process.stop().await.unwrap_err();
    assert!(error.to_string().contains("may remain announced"), "{error}");
    assert_eq!(instance(&server).as_deref(), Some("p/1"));
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_named_and_tried_again() {
    let server = PodServer::default();
    server.announcing(POD, true);
    server.refuse_patches(Some(403));
    let process = announcer(&server, process("p", 1));
    let state = until(&process, |state| state.error.is_some()).await;
    let state = if state.error.as_deref().is_some_and(|e| e.contains("listed")) {
        until(&process, |state| {
            state.error.as_deref().is_some_and(|e| !e.contains("listed"))
        })
        .await
    } else {
        state
    };
    let error = state.error.unwrap();
    assert!(error.contains(POD) && error.contains("Role"), "{error}");
    server.refuse_patches(None);
    until(&process, AnnouncementState::announced).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_changes_meanwhile_is_read_again() {
    let server = PodServer::default();
    server.announcing(POD, true);
    server.refuse_patches(Some(409));
    let process = announcer(&server, process("p", 1));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(seen(&server).workers.is_empty() && server.patches() > 1);
    server.refuse_patches(None);
    until(&process, AnnouncementState::announced).await;
}

#[tokio::test(start_paused = true)]
async fn a_part_of_an_announcement_hides_all_workers_and_is_removed() {
    let server = PodServer::default();
    server.announcing(POD, true);
    let process = announcer(&server, process("p", 1));
    until(&process, AnnouncementState::announced).await;
    // A user removes a label: the overlord loses the worker, and gets it again.
    server.unlabel(POD, "druidDiscoveryAnnouncement-middleManager");
    assert_eq!(instance(&server), None);
    let restored = async {
        while instance(&server).is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), restored)
        .await
        .unwrap();
}
