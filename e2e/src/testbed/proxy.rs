//! HTTP to the API server through `kubectl proxy`.
//!
//! `kubectl get --raw` and `create --raw` are simpler, but the latter sends no content type, which Druid
//! insists on. The proxy signs in however the kubeconfig says and listens on a socket in a private folder.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    os::unix::{fs::DirBuilderExt as _, net::UnixStream, process::CommandExt as _},
    path::PathBuf,
    process::{self, Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::testbed::{
    interrupt::Helper,
    kubectl::Kubectl,
    wait::{saw_answer, wait_until},
};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A running `kubectl proxy`; it ends with this value.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    folder: PathBuf,
    _helper: Helper,
}

impl Proxy {
    /// Starts it.
    ///
    /// # Errors
    /// When kubectl cannot be started or does not listen in time.
    pub fn start(kubectl: &Kubectl) -> Result<Self> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("peon-e2e-{}-{count}", process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .context("cannot create a private folder")?;
        let mut command = kubectl.command();
        command
            .arg("proxy")
            .arg(format!("--unix-socket={}", folder.join("socket").display()));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn().context("cannot start `kubectl proxy`")?;
        let helper = Helper::group(child.id());
        let proxy = Self {
            child,
            folder,
            _helper: helper,
        };
        wait_until(Duration::from_secs(20), "kubectl proxy", || {
            Ok(proxy.connect().ok().map(drop))
        })?;
        Ok(proxy)
    }

    /// Sends one request to a path of the API server and returns the answer's body.
    ///
    /// # Errors
    /// When the answer is not a 2xx; the error holds its body.
    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> Result<String> {
        let answer = self.answer(method, path, body);
        saw_answer(format_args!("{method} {path}"), &answer);
        answer
    }

    fn answer(&self, method: &str, path: &str, body: Option<&str>) -> Result<String> {
        let mut stream = self.connect().context("`kubectl proxy` has ended")?;
        // Version 1.0: the body ends with the connection and is not chunked.
        let length = body.map_or(0, str::len);
        let kind = if body.is_some() {
            "Content-Type: application/json\r\n"
        } else {
            ""
        };
        let head =
            format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n{kind}Content-Length: {length}\r\n\r\n");
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.unwrap_or_default().as_bytes()))?;
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .with_context(|| format!("{method} {path}"))?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            bail!("{method} {path} answered {status}: {}", body.trim());
        }
        Ok(body.to_owned())
    }

    /// Sends a request whose answer goes on and on, and returns where that can be read, its head first.
    ///
    /// # Errors
    /// When the proxy has ended.
    pub(crate) fn stream(&self, path: &str) -> Result<UnixStream> {
        let mut stream = self.connect().context("`kubectl proxy` has ended")?;
        stream.set_read_timeout(None)?;
        let head = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        Ok(stream)
    }

    /// The socket that it listens on.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn connect(&self) -> Result<UnixStream> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Percent-encodes a segment of a path or a value of a query: task ids and selectors may hold nearly anything.
pub(crate) fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn segments_are_encoded() {
        assert_eq!(encoded("a:b c/ä"), "a%3Ab%20c%2F%C3%A4");
    }
}
