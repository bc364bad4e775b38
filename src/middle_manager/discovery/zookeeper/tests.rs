//! Without a server; with one, `e2e test zookeeper::` has more.

use std::net::TcpListener;

use super::*;
use crate::druid::discovery::Worker;
use crate::middle_manager::discovery::announce::{Announcer, this_process};
use crate::middle_manager::registry::identity::Ordinal;

fn settings(hosts: &str, base: &str) -> Settings {
    Settings {
        hosts: hosts.to_owned(),
        base_path: base.to_owned(),
        session_timeout: Duration::from_secs(4),
        credentials: Some(Credentials::new("druid", "secret").unwrap()),
    }
}

#[test]
fn says_which_setting_is_wrong() {
    let wrong = |hosts, base| {
        let made = ZooKeeper::new(&settings(hosts, base), this_process("p"));
        made.unwrap_err().to_string()
    };
    assert!(wrong("a:b", "druid").starts_with("spec.discovery.zookeeper.hosts"));
    assert!(wrong("a:1", "a//b").starts_with("spec.discovery.zookeeper.basePath"));
}

#[test]
fn passwords_are_not_shown() {
    let zookeeper = ZooKeeper::new(&settings("a", "druid"), this_process("p")).unwrap();
    let shown = format!("{zookeeper:?} {:?}", settings("a", "druid"));
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn without_a_session_nothing_is_read() {
    let zookeeper = ZooKeeper::new(&settings("a", "druid"), this_process("p")).unwrap();
    let reader = zookeeper.reader();
    let read = reader.indexer("10.1.2.3:8091").await;
    assert_eq!(read, Err(reader::NotRead::NoSession));
    drop(zookeeper);
    assert_eq!(reader.indexer("10.1.2.3:8091").await, read);
}

#[tokio::test]
async fn an_ensemble_that_is_not_there_is_an_error_and_no_end() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let zookeeper = ZooKeeper::new(&settings(&free.to_string(), "druid"), this_process("p")).unwrap();
    let announcer = Announcer::start(zookeeper);
    let mut states = announcer.states();
    let worker = Worker {
        host: "bridge".into(),
        port: 8091,
        tls: false,
        ip: "10.0.0.5".into(),
        capacity: 1,
        category: "c".into(),
        version: "0".into(),
    };
    announcer.announce(Ordinal(3), worker.clone());
    let limit = Duration::from_secs(60);
    let waited = timeout(limit, states.wait_for(|s| s.contains_key(&Ordinal(3)))).await;
    let state = waited.unwrap().unwrap()[&Ordinal(3)].clone();
    assert!(!state.announced());
    let error = state.error.unwrap();
    assert!(error.contains(&format!("{free}: Connection refused")), "{error}");
    // An identity that comes meanwhile hears of it, too; one that goes is gone.
    announcer.announce(Ordinal(4), worker);
    announcer.withdraw(&Ordinal(3));
    let waited = timeout(limit, states.wait_for(|s| s.keys().eq([&Ordinal(4)]))).await;
    assert!(waited.unwrap().unwrap()[&Ordinal(4)].error.is_some());
    announcer.stop().await.unwrap();
}
