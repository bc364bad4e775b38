//! Where other processes call a peon in a pod of its own: what the operator writes on the pod, and whoever announces the
//! peon reads there (pure).

use serde::{Deserialize, Serialize};

use super::names;
use crate::druid::properties::PEON_PORT;
use crate::druid::worker::TaskLocation;

/// In a host: the pod's address.
pub const ADDRESS: &str = "{address}";
/// In a host: the pod's address with `-` in place of each `.` and `:`, as in the DNS name of a pod.
pub const DASHED_ADDRESS: &str = "{dashedAddress}";
/// In a host: the pod's namespace.
pub const NAMESPACE: &str = "{namespace}";
/// The longest host.
pub const LONGEST_HOST: usize = 253;

/// Host and ports of a peon, before its pod has an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeonEndpoint {
    /// The host, with [`ADDRESS`] or [`DASHED_ADDRESS`] in it.
    host: String,
    /// The port without TLS, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// The port with TLS, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_port: Option<u16>,
}

impl Default for PeonEndpoint {
    fn default() -> Self {
        Self {
            host: ADDRESS.to_owned(),
            port: Some(PEON_PORT),
            tls_port: None,
        }
    }
}

impl PeonEndpoint {
    /// The endpoint of peons in this namespace. `host` was checked by [`check_host`].
    #[must_use]
    pub fn new(host: &str, namespace: &str, port: Option<u16>, tls_port: Option<u16>) -> Self {
        Self {
            host: host.replace(NAMESPACE, namespace),
            port,
            tls_port,
        }
    }

    /// As an annotation of a pod says it; `None` for the default, which is said by none.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let text = serde_json::to_string(self).ok();
        text.filter(|_| *self != Self::default())
    }

    /// What an annotation says. None, and one that no version of the operator writes, are the default.
    #[must_use]
    pub fn read(text: Option<&str>) -> Self {
        let said: Option<Self> = text.and_then(|text| serde_json::from_str(text).ok());
        let is_whole = |said: &Self| {
            let mut ports = said.port.iter().chain(&said.tls_port).peekable();
            ports.peek().is_some() && ports.all(|port| *port > 0) && check_host(&said.host).is_ok()
        };
        said.filter(is_whole).unwrap_or_default()
    }

    /// The host of the peon whose pod has this address.
    #[must_use]
    pub fn host(&self, address: &str) -> String {
        self.host
            .replace(ADDRESS, address)
            .replace(DASHED_ADDRESS, &address.replace(['.', ':'], "-"))
    }

    /// The host with placeholders for the address alone.
    #[must_use]
    pub fn host_pattern(&self) -> &str {
        &self.host
    }

    /// Whether the host is the pod's address.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.host == ADDRESS
    }

    /// The port without TLS, if there is one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port with TLS, if there is one.
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        self.tls_port
    }

    /// The location of the peon whose pod has this address.
    #[must_use]
    pub fn location(&self, address: &str) -> TaskLocation {
        let unknown = TaskLocation::unknown();
        TaskLocation {
            host: Some(self.host(address)),
            port: self.port.map_or(unknown.port, Into::into),
            tls_port: self.tls_port.map_or(unknown.tls_port, Into::into),
            ..unknown
        }
    }
}

/// Checks a host with placeholders.
///
/// # Errors
/// What is wrong with it.
pub fn check_host(host: &str) -> Result<(), String> {
    if !host.contains(ADDRESS) && !host.contains(DASHED_ADDRESS) {
        return Err(format!(
            "host is {host:?}, it must contain {ADDRESS} or {DASHED_ADDRESS}: every peon has its own address"
        ));
    }
    // A namespace may have all characters of a label, an address of version 6 has colons.
    let sample = host
        .replace(NAMESPACE, "a")
        .replace(ADDRESS, "10.0.0.1")
        .replace(DASHED_ADDRESS, "10-0-0-1");
    if host.len() > LONGEST_HOST || !names::is_object_name(&sample) {
        return Err(format!(
            "host is {host:?}, it must be a DNS name of lower-case letters, digits, - and . around the placeholders \
             {ADDRESS}, {DASHED_ADDRESS} and {NAMESPACE}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD_NAME: &str = "{dashedAddress}.{namespace}.pod.cluster.local";

    #[test]
    fn a_host_is_made_of_the_pods_address() {
        let named = PeonEndpoint::new(POD_NAME, "druid", None, Some(8101));
        assert_eq!(
            named.location("10.1.2.3"),
            TaskLocation::https("10-1-2-3.druid.pod.cluster.local", 8101)
        );
        assert_eq!(named.host("fd00::1"), "fd00--1.druid.pod.cluster.local");
        assert!(!named.is_address());
        let plain = PeonEndpoint::default();
        assert_eq!(plain.location("10.1.2.3"), TaskLocation::http("10.1.2.3", 8100));
        assert!(plain.is_address());
        let both = PeonEndpoint::new(ADDRESS, "druid", Some(8100), Some(8300)).location("fd00::1");
        assert_eq!(
            (both.host.as_deref(), both.port, both.tls_port),
            (Some("fd00::1"), 8100, 8300)
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (endpoint, text) in [
            (PeonEndpoint::default(), None),
            (
                PeonEndpoint::new(ADDRESS, "druid", None, Some(8101)),
                Some(r#"{"host":"{address}","tlsPort":8101}"#),
            ),
            (
                PeonEndpoint::new(POD_NAME, "druid", Some(8100), None),
                Some(r#"{"host":"{dashedAddress}.druid.pod.cluster.local","port":8100}"#),
            ),
        ] {
            assert_eq!(endpoint.text().as_deref(), text);
            assert_eq!(PeonEndpoint::read(text), endpoint);
        }
        for wrong in [
            "",
            "https",
            r#"{"host":"{address}"}"#,
            r#"{"host":"{address}","port":0}"#,
            r#"{"host":"{address}","port":70000}"#,
            r#"{"host":"elsewhere","port":8100}"#,
            r#"{"host":"{address}/x","port":8100}"#,
        ] {
            assert_eq!(
                PeonEndpoint::read(Some(wrong)),
                PeonEndpoint::default(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_host_without_an_address_or_with_other_characters_is_refused() {
        for fine in [
            ADDRESS,
            POD_NAME,
            "{address}.nip.io",
            "peon-{dashedAddress}.example.com",
        ] {
            assert_eq!(check_host(fine), Ok(()));
        }
        for wrong in [
            "",
            "peon.example.com",
            "{namespace}.example.com",
            "{dashedAddress}.{pod}.x",
            "{address}:8100",
            "{address}.$(id)",
            "{dashedAddress}..x",
            "{dashedAddress}.Example.com",
        ] {
            assert!(check_host(wrong).is_err(), "{wrong}");
        }
    }
}
