//! The hosts of a ZooKeeper ensemble, and diagnosis of why none of them answers.

use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// ZooKeeper's default port.
const PORT: u16 = 2181;
/// Time limit of the diagnosis of one host.
const LIMIT: Duration = Duration::from_secs(3);

/// Hosts and ports, and the `chroot` node, if there is one: `druid.zk.service.host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ensemble {
    hosts: Vec<Host>,
    root: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: String,
    port: u16,
}

/// An invalid host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a ZooKeeper host: give hosts and ports separated by commas, for example \
     `zk-0:2181,zk-1:2181`"
)]
pub struct InvalidHost {
    text: String,
}

impl Ensemble {
    /// Parses `host:port,host:port/root`.
    pub(super) fn new(text: &str) -> Result<Self, InvalidHost> {
        let (hosts, root) = text.split_at(text.find('/').unwrap_or(text.len()));
        let hosts = hosts.split(',').map(str::trim).map(Host::new);
        Ok(Self {
            hosts: hosts.collect::<Result<_, _>>()?,
            root: root.trim().trim_end_matches('/').to_owned(),
        })
    }

    /// Number of hosts.
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Describes, after a failed attempt to connect, how each host behaves.
    pub(super) async fn diagnose(&self) -> String {
        let each = join_all(self.hosts.iter().map(Host::diagnose)).await;
        format!("no ZooKeeper answers ({}); it is tried again", each.join("; "))
    }
}

impl Host {
    fn new(text: &str) -> Result<Self, InvalidHost> {
        let invalid = || InvalidHost {
            text: text.to_owned(),
        };
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(invalid)?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?,
            None if port.is_empty() => PORT,
            None => return Err(invalid()),
        };
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(invalid());
        }
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }

    async fn diagnose(&self) -> String {
        match timeout(LIMIT, TcpStream::connect((self.name.as_str(), self.port))).await {
            Ok(Ok(_)) => format!("{self} accepts connections but does not answer as ZooKeeper does"),
            Ok(Err(error)) => format!("{self}: {error}"),
            Err(_) => format!("{self} does not accept a connection within {} s", LIMIT.as_secs()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// In the format of the ZooKeeper client.
impl fmt::Display for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        write!(f, "{}{}", hosts.join(","), self.root)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn reads_what_druid_is_given() {
        for (text, read) in [
            ("zookeeper", "zookeeper:2181"),
            ("a:1,b:2", "a:1,b:2"),
            ("a:1, b", "a:1,b:2181"),
            ("a,b:3/druid", "a:2181,b:3/druid"),
            ("a/", "a:2181"),
            ("[fd00::1]:5,[::1]", "[fd00::1]:5,[::1]:2181"),
        ] {
            assert_eq!(Ensemble::new(text).unwrap().to_string(), read);
        }
        for text in [
            "", ",", "a,", ":1", "a:0", "a:b", "a:65536", "[::1", "[::1]2", "::1", "a b", "/druid",
        ] {
            assert!(Ensemble::new(text).is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn says_of_each_host_what_it_does() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let free = closed.local_addr().unwrap().port();
        drop(closed);
        let ensemble =
            Ensemble::new(&format!("127.0.0.1:{port},127.0.0.1:{free},no.such.host.invalid")).unwrap();
        let said = ensemble.diagnose().await;
        for part in [
            format!("127.0.0.1:{port} accepts connections"),
            format!("127.0.0.1:{free}: Connection refused"),
            "no.such.host.invalid:2181: ".to_owned(),
        ] {
            assert!(said.contains(&part), "{said}");
        }
    }
}
