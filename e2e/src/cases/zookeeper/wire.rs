//! ZooKeeper's protocol, as far as the cases look at it: a client that has nothing to do with the operator's.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};

const CREATE: i32 = 1;
const DELETE: i32 = 2;
const GET_DATA: i32 = 4;
const GET_ACL: i32 = 6;
const AUTH: i32 = 100;
const CLOSE: i32 = -11;

const NO_NODE: i32 = -101;
const NO_AUTH: i32 = -102;
/// The number of every request for rights.
const AUTH_NUMBER: i32 = -4;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// After which a session ends that says nothing; none of these lives for so long.
const SESSION_MS: i32 = 300_000;

/// A session; it is closed with this value, and its nodes go.
pub(super) struct Session {
    stream: TcpStream,
    number: i32,
}

/// A node as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) data: Vec<u8>,
    /// The change that created it, by which one is told from another of its name.
    pub(super) created: i64,
    /// The session that keeps it; 0 where it stays.
    pub(super) owner: i64,
}

/// What was answered to a question about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<T> {
    Is(T),
    Nothing,
    Forbidden,
}

impl<T> Found<T> {
    /// What is there.
    pub(super) fn present(self) -> Option<T> {
        match self {
            Self::Is(there) => Some(there),
            Self::Nothing | Self::Forbidden => None,
        }
    }
}

impl Session {
    pub(super) fn open(port: u16) -> Result<Self> {
        Self::open_within(port, LIMIT)
    }

    /// A session, if the server answers so fast. One that only just begins may never answer the first that comes.
    pub(super) fn open_within(port: u16, limit: Duration) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(limit))?;
        let mut session = Self { stream, number: 0 };
        let mut request = Vec::new();
        request.extend(0_i32.to_be_bytes());
        request.extend(0_i64.to_be_bytes());
        request.extend(SESSION_MS.to_be_bytes());
        request.extend(0_i64.to_be_bytes());
        buffer(&mut request, &[0; 16]);
        request.push(0);
        session.send(&request)?;
        let answer = session.receive()?;
        let id = Reader(answer.get(8..).context("no session")?).long()?;
        anyhow::ensure!(id != 0, "no session");
        session.stream.set_read_timeout(Some(LIMIT))?;
        Ok(session)
    }

    /// Has the rights of that user and password from now on.
    pub(super) fn authenticate(&mut self, digest: &str) -> Result<()> {
        let mut request = Vec::new();
        request.extend(AUTH_NUMBER.to_be_bytes());
        request.extend(AUTH.to_be_bytes());
        request.extend(0_i32.to_be_bytes());
        buffer(&mut request, b"digest");
        buffer(&mut request, digest.as_bytes());
        self.send(&request)?;
        match self.answer(AUTH_NUMBER)? {
            (0, _) => Ok(()),
            (code, _) => bail!("ZooKeeper answers {code}"),
        }
    }

    pub(super) fn get(&mut self, path: &str) -> Result<Found<Node>> {
        let (code, body) = self.ask(GET_DATA, |request| {
            buffer(request, path.as_bytes());
            request.push(0);
        })?;
        found(code, || {
            let mut reader = Reader(&body);
            let data = reader.buffer()?.to_vec();
            let created = reader.long()?;
            reader.take(8 + 8 + 8 + 4 + 4 + 4)?;
            let owner = reader.long()?;
            Ok(Node { data, created, owner })
        })
    }

    /// Who has all rights: `scheme:id`, of every entry.
    pub(super) fn owners(&mut self, path: &str) -> Result<Found<Vec<String>>> {
        let (code, body) = self.ask(GET_ACL, |request| buffer(request, path.as_bytes()))?;
        found(code, || {
            let mut reader = Reader(&body);
            let entries = reader.int()?;
            let mut owners = Vec::new();
            for _ in 0..entries {
                anyhow::ensure!(reader.int()? == 31, "not all rights");
                let scheme = String::from_utf8(reader.buffer()?.to_vec())?;
                let id = String::from_utf8(reader.buffer()?.to_vec())?;
                owners.push(format!("{scheme}:{id}"));
            }
            Ok(owners)
        })
    }

    /// Creates a node that stays, for everybody.
    pub(super) fn create(&mut self, path: &str) -> Result<()> {
        self.create_with(path, b"")
    }

    /// Creates a node with this content that stays, for everybody.
    pub(super) fn create_with(&mut self, path: &str, data: &[u8]) -> Result<()> {
        let (code, _) = self.ask(CREATE, |request| {
            buffer(request, path.as_bytes());
            buffer(request, data);
            request.extend(1_i32.to_be_bytes());
            request.extend(31_i32.to_be_bytes());
            buffer(request, b"world");
            buffer(request, b"anyone");
            request.extend(0_i32.to_be_bytes());
        })?;
        found(code, || Ok(()))?.present().context("cannot be created")
    }

    /// Deletes a node, whoever's it is. Says whether there was one.
    pub(super) fn delete(&mut self, path: &str) -> Result<bool> {
        let (code, _) = self.ask(DELETE, |request| {
            buffer(request, path.as_bytes());
            request.extend((-1_i32).to_be_bytes());
        })?;
        Ok(found(code, || Ok(()))?.present().is_some())
    }

    fn ask(&mut self, operation: i32, body: impl FnOnce(&mut Vec<u8>)) -> Result<(i32, Vec<u8>)> {
        self.number += 1;
        let mut request = Vec::new();
        request.extend(self.number.to_be_bytes());
        request.extend(operation.to_be_bytes());
        body(&mut request);
        self.send(&request)?;
        self.answer(self.number)
    }

    /// The answer to that request: its code and what follows.
    fn answer(&mut self, number: i32) -> Result<(i32, Vec<u8>)> {
        let mut answer = self.receive()?;
        let mut reader = Reader(&answer);
        anyhow::ensure!(reader.int()? == number, "an answer to something else");
        reader.long()?;
        let code = reader.int()?;
        Ok((code, answer.split_off(16)))
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        let mut framed = Vec::new();
        buffer(&mut framed, request);
        Ok(self.stream.write_all(&framed)?)
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length))?];
        self.stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A server that is gone, or frozen, does not hear it.
        let mut request = Vec::new();
        request.extend(self.number.wrapping_add(1).to_be_bytes());
        request.extend(CLOSE.to_be_bytes());
        let _ = self.send(&request);
    }
}

fn found<T>(code: i32, read: impl FnOnce() -> Result<T>) -> Result<Found<T>> {
    match code {
        0 => Ok(Found::Is(read()?)),
        NO_NODE => Ok(Found::Nothing),
        NO_AUTH => Ok(Found::Forbidden),
        code => bail!("ZooKeeper answers {code}"),
    }
}

fn buffer(to: &mut Vec<u8>, bytes: &[u8]) {
    // Nothing here is longer than a node may be.
    to.extend(i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
    to.extend(bytes);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).context("a short answer")?;
        self.0 = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn buffer(&mut self) -> Result<&'a [u8]> {
        // -1 stands for nothing.
        match usize::try_from(self.int()?) {
            Ok(length) => self.take(length),
            Err(_) => Ok(&[]),
        }
    }
}
