//! What fake-gcs-server lacks of Google's XML interface: a plain `PUT` of an object, one on condition, and a copy.
//!
//! It takes a `PUT` only with a signed URL, and then looks at no signature; and its answer has no `ETag`. So a relay
//! stands before it that adds both. Of conditions and copies it knows the JSON interface only: the relay asks for them
//! there. Everything else passes unchanged.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result};

/// Opens a relay to a port of this machine; gives its own port. It stays until this process ends.
pub(super) fn relay(to: u16) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A connection that breaks is the client's to repeat.
            thread::spawn(move || serve(&client, to));
        }
    });
    Ok(port)
}

/// One request a connection.
fn serve(client: &TcpStream, to: u16) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut server = TcpStream::connect(("127.0.0.1", to))?;
    let (mut head, mut length, mut is_put) = (String::new(), 0, false);
    let (mut condition, mut source) = (None, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if head.is_empty() && line.starts_with("PUT ") {
            is_put = true;
        }
        let value = |name: &str| {
            lower
                .starts_with(name)
                .then(|| line[name.len()..].trim().to_owned())
        };
        condition = condition.or_else(|| value("x-goog-if-generation-match:"));
        source = source.or_else(|| value("x-goog-copy-source:"));
        if let Some(bytes) = lower.strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap_or(0);
        }
        if lower.starts_with("host:") {
            line = format!("Host: 127.0.0.1:{to}\r\n");
        }
        if line == "\r\n" {
            head.push_str("Connection: close\r\n\r\n");
            break;
        }
        head.push_str(&line);
    }
    if is_put {
        let (request, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
        head = format!(
            "{}\r\n{headers}",
            in_json(request, condition.as_deref(), source.as_deref())
        );
    }
    server.write_all(head.as_bytes())?;
    io::copy(&mut reader.by_ref().take(length), &mut server)?;
    let mut answer = BufReader::new(server);
    let mut status = String::new();
    answer.read_line(&mut status)?;
    let mut client = client;
    client.write_all(status.as_bytes())?;
    if is_put {
        client.write_all(b"ETag: \"none\"\r\n")?;
    }
    io::copy(&mut answer, &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// The first line of a `PUT`, as the server knows it: of `/bucket/key`, whose parts are encoded but for the slashes.
fn in_json(request: &str, condition: Option<&str>, source: Option<&str>) -> String {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let object = |path: &str| -> Option<(String, String)> {
        let (bucket, key) = path.trim_start_matches('/').split_once('/')?;
        Some((bucket.to_owned(), key.replace('/', "%2F")))
    };
    let Some((bucket, key)) = object(path) else {
        return request.to_owned();
    };
    let generation = condition.map(|number| format!("ifGenerationMatch={number}"));
    let target = match (source.and_then(object), generation) {
        (Some((from, source)), generation) => format!(
            "/storage/v1/b/{from}/o/{source}/rewriteTo/b/{bucket}/o/{key}?{}",
            generation.unwrap_or_default()
        ),
        (None, Some(generation)) => {
            format!("/upload/storage/v1/b/{bucket}/o?uploadType=media&name={key}&{generation}")
        }
        (None, None) => return format!("PUT {path}?X-Goog-Algorithm=none HTTP/1.1"),
    };
    format!("POST {target} HTTP/1.1")
}
