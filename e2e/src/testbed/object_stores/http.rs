//! Plain HTTP: a client that has nothing to do with the operator's.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result};

/// Sends a request to a port of this machine; gives status and body.
pub(super) fn request(
    port: u16,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Result<(u16, Vec<u8>)> {
    request_to(&format!("127.0.0.1:{port}"), method, path, headers, body)
}

/// As [`request`], to an `ADDRESS:PORT`.
pub(crate) fn request_to(
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // Version 1.0: the body ends with the connection and is not chunked.
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| format!("{method} {path}"))?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let end = end.context("not an HTTP answer")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok());
    Ok((status.context("no status")?, answer.split_off(end + 4)))
}

/// Percent-encodes everything but letters, digits and `-_.`, and what is in `kept`.
pub(super) fn encoded(text: &str, kept: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) || kept.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
