//! How other processes reach a peon: its host, and the probe that says when it can be called (pure).

use serde_json::{Map, Value, json};

use super::template::default_to;
use crate::api::PeonEndpoint;
use crate::api::peon_endpoint::{ADDRESS, DASHED_ADDRESS};

/// Answered by every process of Druid without authentication, as soon as its server listens
/// (`org.apache.druid.cli.QueryJettyServerInitializer`).
const HEALTH: &str = "/status/health";
/// The probe that waits for the first answer never ends a peon: a template's deadlines do. It is how often it may fail.
const FOREVER: i32 = i32::MAX;
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

/// Adds the probes: the overlord gets the peon's location once its server answers, since supervisors and subtasks call it
/// there. It is asked every second until its first answer, after which the kubelet asks for readiness at once, and then every
/// ten seconds; not in the first two seconds, which no JVM needs less of, since the kubelet writes an Event for each failure. A
/// probe of the pod template stays.
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
    let with = |mut probe: Value| {
        if let (Some(probe), Value::Object(handler)) = (probe.as_object_mut(), &handler) {
            probe.extend(handler.clone());
        }
        probe
    };
    let readiness = with(json!({"periodSeconds": 10, "timeoutSeconds": 5}));
    default_to(peon, json!({ "readinessProbe": readiness }));
    if peon.get("startupProbe").is_none_or(Value::is_null) {
        let startup = json!({
            "initialDelaySeconds": 2, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": FOREVER,
        });
        peon.insert("startupProbe".into(), with(startup));
    }
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

    fn probes(given: Value, endpoint: &PeonEndpoint, wants_certificate: bool) -> (Value, Value) {
        let mut peon = Value::Object(given.as_object().unwrap().clone());
        add_probe(peon.as_object_mut().unwrap(), endpoint, wants_certificate);
        (peon["readinessProbe"].take(), peon["startupProbe"].take())
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
            let (ready, started) = probes(json!({}), &endpoint, wants_certificate);
            assert_eq!((&ready[handler], &started[handler]), (&expected, &expected));
            let periods = (&ready["periodSeconds"], &started["periodSeconds"]);
            assert_eq!(periods, (&json!(10), &json!(1)));
            assert_eq!(started["failureThreshold"], 2_147_483_647);
        }
    }

    #[test]
    fn a_probe_of_the_template_stays() {
        let endpoint = PeonEndpoint::default();
        let own = json!({"exec": {"command": ["true"]}});
        let given = json!({"readinessProbe": own});
        assert_eq!(probes(given, &endpoint, false), (own.clone(), Value::Null));
        let given = json!({"startupProbe": own});
        assert_eq!(probes(given, &endpoint, false).1, own);
        let (slower, _) = probes(json!({"readinessProbe": {"periodSeconds": 30}}), &endpoint, false);
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
