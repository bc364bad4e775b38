//! A way to a server of this machine that counts what is sent to it.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context, Result};

/// Where all servers listen.
const HOST: &str = "127.0.0.1:";

/// The way; it is open until the process ends.
pub struct Counted {
    /// The store's properties, by this way.
    pub properties: String,
    sent: Arc<AtomicU64>,
}

impl Counted {
    /// A way to the server that these properties name.
    ///
    /// # Errors
    /// When they name none on this machine, or no port is free.
    pub fn before(properties: &str) -> Result<Self> {
        let (_, rest) = properties.split_once(HOST).context("no server of this machine")?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let server = format!("{HOST}{}", &rest[..digits]);
        let listener = TcpListener::bind(format!("{HOST}0"))?;
        let properties = properties.replace(&server, &listener.local_addr()?.to_string());
        let sent = Arc::<AtomicU64>::default();
        let count = sent.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(&server) {
                    join(client, server, count.clone());
                }
            }
        });
        Ok(Self { properties, sent })
    }

    /// Bytes that were sent so far, headers and all.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn join(client: TcpStream, server: TcpStream, sent: Arc<AtomicU64>) {
    let ends = (client.try_clone(), server.try_clone());
    let (Ok(client_end), Ok(server_end)) = ends else {
        return;
    };
    thread::spawn(move || {
        copy(client, server, |bytes| {
            sent.fetch_add(bytes, Ordering::Relaxed);
        });
    });
    thread::spawn(move || copy(server_end, client_end, |_| ()));
}

fn copy(mut from: TcpStream, mut to: TcpStream, count: impl Fn(u64)) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        count(length as u64);
    }
    // The other direction may still have something to say.
    let _ = to.shutdown(Shutdown::Write);
}
