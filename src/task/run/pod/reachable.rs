//! How other processes reach a peon: its host, and the probe that says when it can be called (pure).

use serde_json::{Map, Value, json};

use super::template::default_to;
use crate::api::PeonEndpoint;
use crate::api::peon_endpoint::{ADDRESS, DASHED_ADDRESS};

/// Answered by every process of Druid without authentication, as soon as its server listens
/// (`org.apache.druid.cli.QueryJettyServerInitializer`).
const HEALTH: &str = "/status/health";
/// The ways in which a probe looks.
const HANDLERS: [&str; 4] = ["httpGet", "tcpSocket", "exec", "grpc"];

/// The part of the peon's script that makes the host of the pod's address. A host has only characters that mean nothing to
/// a shell.
#[must_use]
pub fn host_script(endpoint: &PeonEndpoint) -> String {
    let host = endpoint
        .host_pattern()
        .replace(ADDRESS, "$PEON_POD_IP")
        .replace(DASHED_ADDRESS, "$(printf %s \"$PEON_POD_IP\" | sed 's/[.:]/-/g')");
    format!("peon_host=\"{host}\"\n")
}

/// Adds the readiness probe: the overlord gets the peon's location once its server answers, since supervisors and subtasks
/// call it there. A probe of the pod template stays.
///
/// The proxy of a service mesh accepts every connection at once, so the probe is an HTTP request, which meshes pass on to
/// the peon. The kubelet has no certificate of a client: where the only port wants one, the probe just connects.
pub fn add_probe(peon: &mut Map<String, Value>, endpoint: &PeonEndpoint, wants_certificate: bool) {
    let given = peon.get("readinessProbe").and_then(Value::as_object);
    if given.is_some_and(|probe| {
        HANDLERS
            .iter()
            .any(|handler| probe.get(*handler).is_some_and(|h| !h.is_null()))
    }) {
        return;
    }
    let handler = match (endpoint.port(), endpoint.tls_port()) {
        (None, Some(port)) if wants_certificate => json!({"tcpSocket": {"port": port}}),
        (None, Some(port)) => https(endpoint, port),
        (port, _) => json!({"httpGet": {"path": HEALTH, "port": port}}),
    };
    let mut probe = json!({"periodSeconds": 2, "timeoutSeconds": 5});
    if let (Some(probe), Value::Object(handler)) = (probe.as_object_mut(), handler) {
        probe.extend(handler);
    }
    default_to(peon, json!({"readinessProbe": probe}));
}

/// The kubelet does not look whose certificate it is, but newer servers compare the host of a request with their own
/// certificate. That of peons with names is one for all names of the pattern.
fn https(endpoint: &PeonEndpoint, port: u16) -> Value {
    let mut get = json!({"path": HEALTH, "port": port, "scheme": "HTTPS"});
    if !endpoint.is_address() {
        get["httpHeaders"] = json!([{"name": "Host", "value": endpoint.host("0.0.0.0")}]);
    }
    json!({ "httpGet": get })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value)] // `json!` is handed over as it is written.

    use std::process::Command;

    use super::*;

    fn probe(given: Value, endpoint: &PeonEndpoint, wants_certificate: bool) -> Value {
        let mut peon = given.as_object().unwrap().clone();
        add_probe(&mut peon, endpoint, wants_certificate);
        peon["readinessProbe"].clone()
    }

    #[test]
    fn the_probe_asks_the_port_that_others_call() {
        let named = "{dashedAddress}.{namespace}.pod.cluster.local";
        let endpoint = |host, plain, tls| PeonEndpoint::new(host, "druid", plain, tls);
        let (plain, tls) = (Some(8100), Some(8101));
        let get = |port: u16| json!({"path": "/status/health", "port": port});
        let mut https = get(8101);
        https["scheme"] = json!("HTTPS");
        let mut with_host = https.clone();
        with_host["httpHeaders"] = json!([{"name": "Host", "value": "0-0-0-0.druid.pod.cluster.local"}]);
        for (endpoint, wants_certificate, handler, expected) in [
            (endpoint(ADDRESS, plain, None), false, "httpGet", get(8100)),
            (endpoint(named, plain, None), false, "httpGet", get(8100)),
            (endpoint(ADDRESS, plain, tls), true, "httpGet", get(8100)),
            (endpoint(ADDRESS, None, tls), false, "httpGet", https),
            (endpoint(named, None, tls), false, "httpGet", with_host),
            (
                endpoint(ADDRESS, None, tls),
                true,
                "tcpSocket",
                json!({"port": 8101}),
            ),
        ] {
            let probe = probe(json!({}), &endpoint, wants_certificate);
            assert_eq!(probe[handler], expected);
            assert_eq!(
                (&probe["periodSeconds"], probe.as_object().unwrap().len()),
                (&json!(2), 3)
            );
        }
    }

    #[test]
    fn a_probe_of_the_template_stays() {
        let endpoint = PeonEndpoint::default();
        let own = json!({"exec": {"command": ["true"]}});
        assert_eq!(probe(json!({"readinessProbe": own}), &endpoint, false), own);
        let slower = probe(json!({"readinessProbe": {"periodSeconds": 30}}), &endpoint, false);
        assert_eq!(
            (&slower["periodSeconds"], &slower["httpGet"]["port"]),
            (&json!(30), &json!(8100))
        );
    }

    #[test]
    fn the_shell_makes_the_same_host_as_the_announcement() {
        for pattern in [
            "{address}",
            "{dashedAddress}.{namespace}.pod.cluster.local",
            "p-{address}.example.com",
        ] {
            let endpoint = PeonEndpoint::new(pattern, "druid", Some(8100), None);
            for address in ["10.1.2.3", "fd00::1"] {
                let script = format!("set -eu\n{}printf %s \"$peon_host\"", host_script(&endpoint));
                let run = Command::new("sh")
                    .args(["-c", &script])
                    .env("PEON_POD_IP", address)
                    .output();
                assert_eq!(
                    String::from_utf8(run.unwrap().stdout).unwrap(),
                    endpoint.host(address)
                );
            }
        }
    }
}
