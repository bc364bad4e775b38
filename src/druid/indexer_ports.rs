//! The ports of an Indexer of an IndexerPool (pure).
//!
//! Druid opens a port without TLS unless `druid.enablePlaintextPort` is false, and one with TLS if `druid.enableTlsPort`
//! is true. With both, its processes call the one with TLS, and name the Indexer by it (`DruidNode.getHostAndPortToUse`).

/// Port without TLS: Druid's default.
pub const INDEXER_PORT: u16 = 8091;
/// Port with TLS: Druid's default.
pub const INDEXER_TLS_PORT: u16 = 8291;

/// The ports on which an Indexer listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum IndexerPorts {
    /// [`INDEXER_PORT`] alone.
    #[default]
    Plain,
    /// [`INDEXER_TLS_PORT`] alone.
    Tls,
    /// Both.
    Both,
}

impl IndexerPorts {
    /// The ports, by whether each is enabled; `None` if neither is.
    #[must_use]
    pub fn of(plain: bool, tls: bool) -> Option<Self> {
        match (plain, tls) {
            (true, false) => Some(Self::Plain),
            (false, true) => Some(Self::Tls),
            (true, true) => Some(Self::Both),
            (false, false) => None,
        }
    }

    /// The port without TLS, if there is one.
    #[must_use]
    pub fn plain(self) -> Option<u16> {
        matches!(self, Self::Plain | Self::Both).then_some(INDEXER_PORT)
    }

    /// The port with TLS, if there is one.
    #[must_use]
    pub fn tls(self) -> Option<u16> {
        matches!(self, Self::Tls | Self::Both).then_some(INDEXER_TLS_PORT)
    }

    /// The port that is called, and whether it speaks TLS.
    #[must_use]
    pub fn called(self) -> (u16, bool) {
        match self {
            Self::Plain => (INDEXER_PORT, false),
            Self::Tls | Self::Both => (INDEXER_TLS_PORT, true),
        }
    }

    /// `host:port`, by which Druid knows the Indexer at that address: an IPv6 address stands in brackets.
    #[must_use]
    pub fn address(self, ip: &str) -> String {
        let (port, _) = self.called();
        if ip.contains(':') {
            format!("[{ip}]:{port}")
        } else {
            format!("{ip}:{port}")
        }
    }

    /// As an annotation of a pod says it; `None` for [`Plain`](Self::Plain), which is said by none.
    #[must_use]
    pub fn text(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Tls => Some("https"),
            Self::Both => Some("http,https"),
        }
    }

    /// What an annotation says. None, and one that no version of the operator writes, are [`Plain`](Self::Plain).
    #[must_use]
    pub fn read(text: Option<&str>) -> Self {
        let all = [Self::Tls, Self::Both];
        let said = all.into_iter().find(|ports| ports.text() == text);
        said.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_with_tls_is_called_where_there_is_one() {
        for (enabled, ports, plain, tls, called) in [
            (
                (true, false),
                IndexerPorts::Plain,
                Some(8091),
                None,
                (8091, false),
            ),
            ((false, true), IndexerPorts::Tls, None, Some(8291), (8291, true)),
            (
                (true, true),
                IndexerPorts::Both,
                Some(8091),
                Some(8291),
                (8291, true),
            ),
        ] {
            let of = IndexerPorts::of(enabled.0, enabled.1).unwrap();
            assert_eq!(of, ports);
            assert_eq!((of.plain(), of.tls(), of.called()), (plain, tls, called));
            assert_eq!(IndexerPorts::read(of.text()), of);
        }
        assert_eq!(IndexerPorts::of(false, false), None);
        assert_eq!(IndexerPorts::read(Some("quic")), IndexerPorts::Plain);
    }

    #[test]
    fn an_address_of_version_6_stands_in_brackets() {
        assert_eq!(IndexerPorts::Plain.address("10.1.2.3"), "10.1.2.3:8091");
        assert_eq!(IndexerPorts::Plain.address("fd00::1"), "[fd00::1]:8091");
        assert_eq!(IndexerPorts::Both.address("fd00::1"), "[fd00::1]:8291");
    }
}
