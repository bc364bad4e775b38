use std::collections::BTreeMap;

use super::*;

#[test]
fn buckets_stand_in_the_host_name_where_there_is_one() {
    let host = |endpoint, bucket| virtual_host(endpoint, bucket);
    assert_eq!(
        host("https://s3.example.org:9000", "b").as_deref(),
        Some("https://b.s3.example.org:9000")
    );
    for (endpoint, bucket) in [
        ("http://127.0.0.1:9000", "b"),
        ("http://[::1]:9000", "b"),
        ("http://minio:9000", "b"),
        ("https://s3.example.org", "b.c"),
    ] {
        assert_eq!(host(endpoint, bucket), None, "{endpoint} {bucket}");
    }
}

#[test]
fn nothing_is_borrowed_from_the_process() {
    for (type_, given) in [
        (
            "s3",
            [
                ("druid.indexer.logs.s3Bucket", "b"),
                ("druid.indexer.logs.s3Prefix", "p"),
            ]
            .as_slice(),
        ),
        (
            "google",
            &[
                ("druid.indexer.logs.bucket", "b"),
                ("druid.indexer.logs.prefix", "p"),
            ],
        ),
        (
            "azure",
            &[
                ("druid.indexer.logs.container", "c"),
                ("druid.indexer.logs.prefix", "p"),
                ("druid.azure.account", "a"),
            ],
        ),
    ] {
        let mut given: BTreeMap<String, String> = given
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        given.insert("druid.indexer.logs.type".to_owned(), type_.to_owned());
        let location = Location::from_properties(&given).unwrap().unwrap();
        let error = open(&location, Identity::Explicit).unwrap_err();
        assert!(matches!(error, StoreError::NoCredentials { .. }), "{error}");
        assert!(error.to_string().contains(location.credential_properties()));
    }
}

#[test]
fn a_directory_has_to_be_there() {
    let location = Location::File {
        directory: "/nonexistent/logs".into(),
    };
    let error = open(&location, Identity::Explicit).unwrap_err();
    assert!(
        error.to_string().starts_with("/nonexistent/logs cannot be used"),
        "{error}"
    );
}
