use axum::body::Body;
use axum::response::IntoResponse;
use tokio::net::TcpListener;

use super::*;
use crate::druid_http::fixtures::with_tls;
use crate::middle_manager::overlord::fixtures::{BASIC, Server, client, settings};
use crate::middle_manager::overlord::{Overlord, SubmitError};

#[tokio::test]
async fn follows_to_the_leader_with_everything() {
    let leader = Server::saying(200, r#"{"task":"t"}"#).await;
    let to = leader.url();
    let other = Server::redirecting(move |path| format!("{to}{path}")).await;
    assert_eq!(other.client().submit("{}").await.unwrap().id, "t");
    let expected = (
        "POST".to_owned(),
        "/druid/indexer/v1/task".to_owned(),
        Some(BASIC.to_owned()),
        "{}".to_owned(),
    );
    assert_eq!(other.asked(), std::slice::from_ref(&expected));
    assert_eq!(leader.asked(), [expected]);
    // Also where only the path is said.
    let relative = Server::start(|path| match path {
        "/here" => (StatusCode::OK, r#"{"task":"t","payload":{}}"#).into_response(),
        _ => (StatusCode::PERMANENT_REDIRECT, [(LOCATION, "/here")]).into_response(),
    })
    .await;
    assert_eq!(
        relative.client().payload("t").await.unwrap().as_deref(),
        Some("{}")
    );
}

/// An overlord at one of this machine's names that redirects to another of them, and says that `leader` leads.
async fn redirects_elsewhere(to: &Server, leader: String) -> Server {
    let to = format!("http://localhost:{}", to.address.port());
    Server::start(move |path| match path {
        "/druid/indexer/v1/leader" => (StatusCode::OK, leader.clone()).into_response(),
        path => {
            let headers = [(LOCATION, format!("{to}{path}"))];
            (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
        }
    })
    .await
}

#[tokio::test]
async fn another_host_is_followed_only_where_it_is_said_to_lead() {
    let leader = Server::saying(200, r#"{"task":"t"}"#).await;
    let at = |host: &str, port: u16| format!("http://{host}:{port}");
    let port = leader.address.port();
    let other = redirects_elsewhere(&leader, at("localhost", port)).await;
    assert_eq!(other.client().submit("{}").await.unwrap().id, "t");
    assert_eq!(leader.asked().len(), 1);
    for said in [
        String::new(),
        "nobody".to_owned(),
        at("localhost", port.wrapping_add(1)),
        at("elsewhere", port),
        format!("https://localhost:{port}"),
    ] {
        let other = redirects_elsewhere(&leader, said.clone()).await;
        let error = other.client().submit("{}").await.unwrap_err();
        assert!(matches!(error, SubmitError::Unavailable(_)), "{said}: {error}");
        assert!(error.to_string().contains("is not followed"), "{said}: {error}");
    }
    // Neither credentials nor tasks have gone there.
    assert_eq!(leader.asked().len(), 1);
    // Who leads is not asked of somebody else either.
    let to = at("localhost", port);
    let server = Server::redirecting(move |path| format!("{to}{path}")).await;
    assert!(server.client().leader().await.is_err());
    assert_eq!(leader.asked().len(), 1);
}

/// Whoever submits need not know who leads: another user asks that, the address that was given and no other.
#[tokio::test]
async fn another_user_confirms_who_leads() {
    let leader = Server::saying(200, r#"{"task":"t"}"#).await;
    let observer = Credentials::new("observer", "other").unwrap();
    let observing = observer.header_value();
    let observing = Some(observing.to_str().unwrap().to_owned());
    let submits = async |server: &Server| {
        let settings = Settings {
            observer: Some(observer.clone()),
            ..settings(&server.url())
        };
        Overlord::new(&settings).unwrap().submit("{}").await
    };
    let standby = redirects_elsewhere(&leader, format!("http://localhost:{}", leader.address.port())).await;
    assert_eq!(submits(&standby).await.unwrap().id, "t");
    let whom = |server: &Server| -> Vec<_> { server.asked().into_iter().map(|(_, _, who, _)| who).collect() };
    let basic = Some(BASIC.to_owned());
    assert_eq!(whom(&standby), [basic.clone(), observing]);
    assert_eq!(whom(&leader), [basic]);
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN] {
        let to = format!("http://localhost:{}", leader.address.port());
        let standby = Server::start(move |path| match path {
            "/druid/indexer/v1/leader" => (status, r#"{"error":"Unauthorized"}"#).into_response(),
            path => {
                let headers = [(LOCATION, format!("{to}{path}"))];
                (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
            }
        })
        .await;
        let error = submits(&standby).await.unwrap_err();
        assert!(matches!(error, SubmitError::Unavailable(_)), "{status}: {error}");
        for part in ["spec.authRef", "STATE READ"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
    assert_eq!(leader.asked().len(), 1);
}

#[tokio::test]
async fn overlords_that_redirect_to_each_other_lead_nowhere() {
    let loops = Server::redirecting(str::to_owned).await;
    let error = loops.client().leader().await.unwrap_err();
    assert!(matches!(error, OverlordError::Unavailable { .. }), "{error}");
    assert!(loops.asked().len() <= 10, "{}", loops.asked().len());
    for to in ["", "ftp://127.0.0.1/", "http://"] {
        let astray = Server::redirecting(move |_| to.to_owned()).await;
        let error = astray.client().leader().await.unwrap_err();
        // An empty one is the same address again.
        let expected = matches!(error, OverlordError::Unexpected { .. }) || to.is_empty();
        assert!(expected, "{to:?}: {error}");
    }
}

#[test]
fn a_redirect_never_leads_out_of_tls() {
    let url = |text| Url::parse(text).unwrap();
    let to = |from, location| redirected(&url(from), Some(&HeaderValue::from_static(location)));
    for (from, location, leads) in [
        (
            "https://overlord:8290/x",
            "https://other:8290/x",
            "https://other:8290/x",
        ),
        ("https://overlord:8290/x", "/y", "https://overlord:8290/y"),
        (
            "http://overlord:8090/x",
            "http://other:8090/x",
            "http://other:8090/x",
        ),
        (
            "http://overlord:8090/x",
            "https://other:8290/x",
            "https://other:8290/x",
        ),
    ] {
        assert_eq!(to(from, location).unwrap().as_str(), leads);
    }
    for (from, location) in [
        ("https://overlord:8290/x", "http://overlord:8090/x"),
        ("https://overlord:8290/x", "ftp://overlord/x"),
        ("http://overlord:8090/x", "ftp://overlord/x"),
        ("http://overlord:8090/x", "http://"),
    ] {
        let error = to(from, location).unwrap_err();
        assert!(matches!(error, OverlordError::Unexpected { .. }), "{error}");
    }
}

#[tokio::test]
async fn trusts_the_given_certificate_and_no_other() {
    let body = "https://10.0.0.7:8290";
    let length = body.len();
    let (address, ca) = with_tls(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
    .await;
    let url = format!("https://{address}");
    let asks = async |ca: Option<Vec<u8>>| {
        let settings = Settings { ca, ..settings(&url) };
        Overlord::new(&settings).unwrap().leader().await
    };
    assert_eq!(asks(Some(ca)).await.unwrap().as_deref(), Some(body));
    let (_, other) = with_tls(String::new()).await;
    for ca in [None, Some(other)] {
        let error = asks(ca).await.unwrap_err();
        assert!(matches!(error, OverlordError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn credentials_never_leave_tls() {
    let open = Server::saying(200, "").await;
    let to = open.url();
    let (address, ca) = with_tls(format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}/x\r\nContent-Length: 0\r\n\r\n"
    ))
    .await;
    let settings = Settings {
        ca: Some(ca),
        ..settings(&format!("https://{address}"))
    };
    let error = Overlord::new(&settings).unwrap().submit("{}").await.unwrap_err();
    assert!(
        error.to_string().contains("announce themselves with TLS"),
        "{error}"
    );
    assert_eq!(open.asked(), []);
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(&format!("http://{address}")).leader().await.unwrap_err();
    assert!(matches!(error, OverlordError::Unavailable { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains(&address.to_string()) && said.contains("refused"),
        "{said}"
    );
    // A leader that is gone is named, not the overlord that still believes in it.
    let gone = format!("http://{address}");
    let server = Server::redirecting(move |path| format!("{gone}{path}")).await;
    let said = server.client().leader().await.unwrap_err().to_string();
    assert!(said.contains(&address.to_string()), "{said}");
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_not_waited_for_without_end() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let error = client(&url).submit("{}").await.unwrap_err();
    assert!(matches!(error, SubmitError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let server = Server::start(|_| {
        let piece = || Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; 1 << 20]));
        Body::from_stream(futures::stream::repeat_with(piece)).into_response()
    })
    .await;
    let error = server.client().payload("t").await.unwrap_err();
    assert!(error.to_string().contains("more than 65536 KiB"), "{error}");
}

#[test]
fn says_which_setting_is_wrong() {
    for url in [
        "overlord",
        "overlord:8090",
        "ftp://overlord",
        "http://",
        "http://o?x=1",
        "http://o#x",
    ] {
        let error = Overlord::new(&settings(url)).unwrap_err().to_string();
        assert!(error.starts_with("spec.overlord.url"), "{url}: {error}");
    }
    let error = Overlord::new(&settings("http://user:pass@overlord")).unwrap_err();
    assert!(!error.to_string().contains("pass@"), "{error}");
    for ca in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let settings = Settings {
            ca: Some(ca.into()),
            ..settings("https://overlord:8290")
        };
        let error = Overlord::new(&settings).unwrap_err().to_string();
        assert!(error.starts_with("spec.overlord.caRef"), "{error}");
    }
}

#[test]
fn passwords_are_not_shown() {
    let shown = format!("{:?} {:?}", settings("http://o"), client("http://o"));
    assert!(!shown.contains("secret") && !shown.contains("ZHJ1"), "{shown}");
}
