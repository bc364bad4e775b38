use serde_json::{Value, json};

use super::*;
use crate::pool::fixtures::{manager, pool};

fn keys(entries: &[(&str, &str)]) -> Content {
    let entries = entries.iter();
    Content::Keys(
        entries
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect(),
    )
}

fn wanted(pool_spec: Value, manager_spec: Value, tls: bool) -> Wanted {
    Wanted::of(&pool(pool_spec), &manager(manager_spec), tls)
}

/// The Secrets of the namespace.
fn secrets() -> BTreeMap<String, Content> {
    [
        (
            "escalator",
            keys(&[("username", "druid_system\n"), ("password", "pass word\r\n")]),
        ),
        ("overlord-ca", keys(&[("ca.crt", "of the overlord")])),
        ("druid-ca", keys(&[("ca.crt", "of Druid")])),
        ("empty", keys(&[])),
        (
            "binary",
            Content::Keys([("username".to_owned(), vec![0xff])].into()),
        ),
        ("hidden", Content::Forbidden),
        ("late", Content::Unread("no answer within 20s".into())),
    ]
    .map(|(name, content)| (name.to_owned(), content))
    .into()
}

/// Each combination of what pool and VirtualMiddleManager name, and the settings that follow.
#[test]
fn the_user_is_that_of_the_overlord_and_the_pool_may_have_a_ca_of_its_own() {
    let auth = json!({"authRef": {"name": "escalator"}});
    let with_ca = json!({
        "authRef": {"name": "escalator"}, "overlord": {"url": "https://o:8290", "caRef": {"name": "overlord-ca"}},
    });
    let own = json!({"tls": {"caRef": {"name": "druid-ca"}}});
    let any = json!({"tls": {"caRef": {"name": "druid-ca"}, "validateHostnames": false}});
    let user = Some(("druid_system".to_owned(), "pass word".to_owned()));
    let plain = |credentials: &Option<(String, String)>| Connection {
        credentials: credentials.clone(),
        ..Connection::default()
    };
    let tls = |ca: Option<&str>, any_hostname: bool| Connection {
        credentials: user.clone(),
        ca: ca.map(|ca| ca.as_bytes().to_vec()),
        tls: true,
        any_hostname,
    };
    for (pool_spec, manager_spec, speaks_tls, secrets_read, expected) in [
        (json!({}), json!({}), false, vec![], plain(&None)),
        (json!({}), auth.clone(), false, vec!["escalator"], plain(&user)),
        // Without TLS no certificates are read.
        (
            any.clone(),
            with_ca.clone(),
            false,
            vec!["escalator"],
            plain(&user),
        ),
        (json!({}), auth.clone(), true, vec!["escalator"], tls(None, false)),
        (
            json!({}),
            with_ca.clone(),
            true,
            vec!["escalator", "overlord-ca"],
            tls(Some("of the overlord"), false),
        ),
        (
            own,
            with_ca.clone(),
            true,
            vec!["escalator", "druid-ca"],
            tls(Some("of Druid"), false),
        ),
        (
            any,
            auth,
            true,
            vec!["escalator", "druid-ca"],
            tls(Some("of Druid"), true),
        ),
        // The API server refuses it; nobody is trusted for it in any case.
        (
            json!({"tls": {"validateHostnames": false}}),
            with_ca,
            true,
            vec!["escalator", "overlord-ca"],
            tls(Some("of the overlord"), false),
        ),
    ] {
        let wanted = wanted(pool_spec, manager_spec, speaks_tls);
        assert_eq!(wanted.secrets(), secrets_read);
        assert_eq!(wanted.connection(&secrets()), Ok(expected), "{wanted:?}");
    }
}

#[test]
fn a_secret_that_is_named_twice_is_read_once() {
    let both = json!({
        "authRef": {"name": "druid"}, "overlord": {"url": "https://o:8290", "caRef": {"name": "druid"}},
    });
    assert_eq!(wanted(json!({}), both, true).secrets(), ["druid"]);
}

#[test]
fn what_is_wrong_with_a_secret_is_said_with_its_name_and_what_to_do() {
    for (secret, said) in [
        (
            "none",
            "the Secret none (authRef of the VirtualMiddleManager ingestion) does not exist in this namespace: create it",
        ),
        ("empty", "has no key `username`: add it"),
        ("binary", "is not UTF-8"),
        ("hidden", "the operator may not read the Secret hidden"),
        (
            "late",
            "could not be read and is tried again: no answer within 20s",
        ),
    ] {
        let wanted = wanted(json!({}), json!({"authRef": {"name": secret}}), false);
        let unusable = wanted.connection(&secrets()).unwrap_err();
        assert_eq!(unusable.reason, PoolReadiness::InvalidSecret);
        assert!(unusable.message.contains(said), "{}", unusable.message);
    }
    let own = wanted(json!({"tls": {"caRef": {"name": "empty"}}}), json!({}), true);
    let unusable = own.connection(&secrets()).unwrap_err();
    assert_eq!(
        unusable.message,
        "the Secret empty (tls.caRef of the pool) has no key `ca.crt`: add it"
    );
    let none = wanted(json!({}), json!({}), true);
    for (wanted, said) in [(own, "`ca.crt` must contain"), (none, "in tls.caRef")] {
        let message = wanted.invalid_ca("it contains no certificate").message;
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let wanted = wanted(json!({}), json!({"authRef": {"name": "escalator"}}), true);
    let printed = format!("{:?} {:?}", secrets(), wanted.connection(&secrets()).unwrap());
    for secret in ["druid_system", "pass word"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
