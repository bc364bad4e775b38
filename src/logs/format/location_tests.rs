use super::*;

fn properties(text: &str) -> BTreeMap<String, String> {
    java_properties::read(text.as_bytes())
        .unwrap()
        .into_iter()
        .collect()
}

fn read(text: &str) -> Location {
    Location::from_properties(&properties(text)).unwrap().unwrap()
}

fn refused(text: &str) -> String {
    Location::from_properties(&properties(text))
        .unwrap_err()
        .to_string()
}

const S3: &str =
    "druid.indexer.logs.type=s3\ndruid.indexer.logs.s3Bucket=b\ndruid.indexer.logs.s3Prefix=druid/logs\n";
const AZURE: &str = "druid.indexer.logs.type=azure\ndruid.indexer.logs.container=c\ndruid.indexer.logs.prefix=p\n\
                     druid.azure.account=acc\n";
const GOOGLE: &str =
    "druid.indexer.logs.type=google\ndruid.indexer.logs.bucket=b\ndruid.indexer.logs.prefix=p\n";

#[test]
fn nothing_is_archived_unless_a_type_is_given() {
    for text in [
        "",
        "druid.indexer.logs.type=noop",
        "druid.indexer.logs.type= ",
        "druid.indexer.logs.directory=/x",
    ] {
        assert_eq!(Location::from_properties(&properties(text)), Ok(None), "{text}");
    }
}

#[test]
fn an_overlords_lines_for_s3() {
    let location = read(&format!(
        "{S3}druid.service=druid/overlord\ndruid.s3.accessKey=AK\ndruid.s3.secretKey=SK\ndruid.s3.sessionToken=ST\n\
         druid.s3.endpoint.url=minio.example.org:9000/\ndruid.s3.endpoint.signingRegion=eu-west-1\n\
         druid.s3.enablePathStyleAccess=true\ndruid.s3.protocol=http\ndruid.storage.sse.type=kms\n\
         druid.storage.sse.kms.keyId=k\ndruid.indexer.logs.disableAcl=true\n"
    ));
    let secret = |text: &str| Secret::new(text.to_owned());
    let keys = S3Keys {
        access_key: secret("AK"),
        secret_key: secret("SK"),
        session_token: Some(secret("ST")),
    };
    let expected = Location::S3 {
        bucket: "b".into(),
        prefix: "druid/logs".into(),
        endpoint: Some("http://minio.example.org:9000".into()),
        region: Some("eu-west-1".into()),
        path_style: true,
        encryption: S3Encryption::Kms(Some("k".into())),
        keys: Some(keys),
    };
    assert_eq!(location, expected);
    assert_eq!(location.to_string(), "s3://b/druid/logs");
}

#[test]
fn an_overlords_lines_for_the_others() {
    let file = read("druid.indexer.logs.type=file\ndruid.indexer.logs.directory=/var/druid/logs");
    assert_eq!(
        file,
        Location::File {
            directory: "/var/druid/logs".into()
        }
    );
    let google = read(&format!(
        "{GOOGLE}peon.google.serviceAccount={{\"private_key\": \"x\"}}"
    ));
    assert!(google.has_credentials());
    let endpoint = |text: &str| match read(&format!("{AZURE}{text}")) {
        Location::Azure { endpoint, .. } => endpoint,
        other => panic!("{other}"),
    };
    assert_eq!(endpoint(""), "https://acc.blob.core.windows.net");
    assert_eq!(
        endpoint("druid.azure.storageAccountEndpointSuffix=blob.x.net\ndruid.azure.protocol=http"),
        "http://acc.blob.x.net"
    );
    assert_eq!(
        endpoint("druid.azure.endpointSuffix=core.cn"),
        "https://acc.blob.core.cn"
    );
    assert_eq!(
        endpoint("peon.azure.endpoint=http://localhost:1/acc"),
        "http://localhost:1/acc"
    );
}

#[test]
fn passwords_have_druids_forms() {
    let keys = |secret: &str| match read(&format!("{S3}druid.s3.accessKey=AK\ndruid.s3.secretKey={secret}")) {
        Location::S3 { keys: Some(keys), .. } => keys.secret_key.expose().to_owned(),
        other => panic!("{other}"),
    };
    assert_eq!(keys("{\"type\":\"default\",\"password\":\"p\"}"), "p");
    assert_eq!(keys("{no json"), "{no json");
    let from_environment =
        "druid.s3.accessKey=AK\ndruid.s3.secretKey={\"type\":\"environment\",\"variable\":\"V\"}";
    assert!(refused(&format!("{S3}{from_environment}")).contains("give the value itself"));
}

#[test]
fn what_cannot_be_used_is_refused_by_its_name() {
    for (text, name) in [
        ("druid.indexer.logs.type=hdfs".to_owned(), "hdfs"),
        ("druid.indexer.logs.type=switching".to_owned(), "switching"),
        (
            "druid.indexer.logs.type=file".to_owned(),
            "druid.indexer.logs.directory",
        ),
        (
            "druid.indexer.logs.type=file\ndruid.indexer.logs.directory=log".to_owned(),
            "absolute",
        ),
        (S3.replace("druid/logs", ""), "druid.indexer.logs.s3Prefix"),
        (S3.replace("druid/logs", "/druid"), "with a slash"),
        (S3.replace("druid/logs", "druid/"), "with a slash"),
        (S3.replace("druid/logs", "a//b"), "with a slash"),
        (S3.replace("druid/logs", "a/../b"), ".."),
        (
            S3.replace("druid.indexer.logs.s3Bucket=b\n", ""),
            "druid.indexer.logs.s3Bucket",
        ),
        (format!("{S3}druid.s3.accessKey=a"), "druid.s3.secretKey"),
        (format!("{S3}druid.s3.secretKey=a"), "druid.s3.accessKey"),
        (format!("{S3}druid.s3.protocol=ftp"), "druid.s3.protocol"),
        (
            format!("{S3}druid.storage.sse.type=custom"),
            "druid.storage.sse.type",
        ),
        (GOOGLE.replace("prefix=p", "prefix="), "druid.indexer.logs.prefix"),
        (
            format!("{GOOGLE}peon.google.serviceAccount=/a/file.json"),
            "peon.google.serviceAccount",
        ),
        (
            AZURE.replace("druid.azure.account=acc", ""),
            "druid.azure.account",
        ),
        (
            format!("{AZURE}druid.azure.key=k\ndruid.azure.sharedAccessStorageToken=t"),
            "only one",
        ),
        (format!("{AZURE}peon.azure.endpoint=host"), "peon.azure.endpoint"),
    ] {
        let said = refused(&text);
        assert!(said.contains(name), "{text}: {said}");
    }
}

#[test]
fn secrets_are_never_shown() {
    for text in [
        format!("{S3}druid.s3.accessKey=HUSH\ndruid.s3.secretKey=HUSH\ndruid.s3.sessionToken=HUSH"),
        format!("{AZURE}druid.azure.key=HUSH"),
        format!("{AZURE}druid.azure.sharedAccessStorageToken=HUSH"),
        format!("{GOOGLE}peon.google.serviceAccount={{\"private_key\":\"HUSH\"}}"),
    ] {
        let location = read(&text);
        assert!(location.has_credentials());
        let shown = format!(
            "{location:?} {location:#?} {location} {}",
            location.url(&"k".into())
        );
        assert!(!shown.contains("HUSH"), "{shown}");
    }
    for text in [
        format!("{S3}druid.s3.accessKey=AK\ndruid.s3.secretKey={{\"type\":\"x\",\"password\":\"HUSH\"}}"),
        format!("{AZURE}druid.azure.key=HUSH\ndruid.azure.sharedAccessStorageToken=HUSH"),
        format!("{GOOGLE}peon.google.serviceAccount=HUSH"),
    ] {
        assert!(!refused(&text).contains("HUSH"), "{text}");
    }
}

#[test]
fn urls_are_for_people() {
    let key = Path::parse("p/with space%41/log").unwrap();
    assert_eq!(read(S3).url(&key), "s3://b/p/with space%41/log");
    assert_eq!(read(GOOGLE).url(&key), "gs://b/p/with space%41/log");
    assert_eq!(read(AZURE).url(&key), "azure://c/p/with space%41/log");
    let file = Location::File {
        directory: "/logs".into(),
    };
    assert_eq!(file.url(&Path::parse("t#1.log").unwrap()), "/logs/t#1.log");
}
