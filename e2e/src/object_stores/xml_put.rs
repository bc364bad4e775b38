//! What fake-gcs-server lacks of Google's XML interface: a plain `PUT` of an object.
//!
//! It takes one only with a signed URL, and then looks at no signature; and its answer has no `ETag`. So a relay stands
//! before it that adds both. Everything else passes unchanged.

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
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if head.is_empty() && line.starts_with("PUT ") {
            is_put = true;
            line = line.replacen(" HTTP/", "?X-Goog-Algorithm=none HTTP/", 1);
        }
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
