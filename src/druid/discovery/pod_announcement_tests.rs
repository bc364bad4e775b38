use super::*;

#[test]
fn the_hash_of_an_address_is_javas() {
    // As a label of a pod of a real cluster has it.
    assert_eq!(id_hash("10.0.164.21:8088"), "837274055");
    // "polygenelubricants".hashCode() is the smallest int, which has no opposite.
    assert_eq!(id_hash("polygenelubricants"), "2147483648");
    assert_eq!(id_hash(""), "0");
}

#[test]
fn a_worker_is_announced_by_three_labels_and_one_annotation() {
    let worker = Worker {
        host: "ingestion-vmm-0.druid.svc".into(),
        port: 8091,
        tls: false,
        ip: "10.96.0.7".into(),
        capacity: 10,
        category: "_default_worker_category".into(),
        version: "0".into(),
    };
    let process = Process {
        instance: "ingestion-vmm-5d/1".into(),
        started: "2026-11-21T01:55:03.157Z".parse().unwrap(),
    };
    let announcement = PodAnnouncement::of(&worker, &process, "analytics").unwrap();
    let expected = [
        ("druidDiscoveryAnnouncement-middleManager", "true"),
        (
            "druidDiscoveryAnnouncement-id-hash",
            id_hash("ingestion-vmm-0.druid.svc:8091").as_str(),
        ),
        ("druidDiscoveryAnnouncement-cluster-identifier", "analytics"),
    ]
    .map(|(key, value)| (key, value.to_owned()));
    assert_eq!(announcement.labels, expected);
    // What an overlord reads, byte by byte: the fields of DiscoveryDruidNode, DruidNode and WorkerNodeService.
    assert_eq!(
        announcement.node,
        concat!(
            r#"{"druidNode":{"service":"druid/middleManager","host":"ingestion-vmm-0.druid.svc","bindOnHost":false,"#,
            r#""plaintextPort":8091,"port":-1,"tlsPort":-1,"enablePlaintextPort":true,"enableTlsPort":false,"#,
            r#""labels":{"peon.dev/instance":"ingestion-vmm-5d/1"}},"nodeType":"middleManager","#,
            r#""services":{"workerNodeService":{"type":"workerNodeService","ip":"10.96.0.7","capacity":10,"#,
            r#""version":"0","category":"_default_worker_category"}},"startTime":"2026-11-21T01:55:03.157Z"}"#
        )
    );
}

#[test]
fn an_indexer_is_found_by_cluster_role_and_address() {
    assert_eq!(
        indexer_selector("analytics", "10.0.164.21:8088"),
        "druidDiscoveryAnnouncement-cluster-identifier=analytics,druidDiscoveryAnnouncement-indexer=true,\
         druidDiscoveryAnnouncement-id-hash=837274055"
    );
}
