//! The worker protocol as a test speaks it, past the overlord.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::mpsc::Sender,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{MiddleManager, list, text};
use crate::testbed::wait::saw;

/// How Druid calls Smile.
pub(super) const SMILE: &str = "application/x-jackson-smile";
/// How it calls JSON.
pub(super) const JSON: &str = "application/json";

/// A server that is called from this machine: a worker, or an overlord that is called while the API server is down.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) address: String,
    authorization: Option<String>,
}

/// What it answers.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Result<Value> {
        let said = || format!("{} {}", self.code, String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).with_context(said)
    }

    /// The complete state: the process that says it, by its hash, and the state of each task.
    pub(super) fn state(&self) -> Result<(i64, BTreeMap<String, String>)> {
        let said = self.json()?;
        ensure!(self.code == 200 && said["resetCounter"] == false, "{said}");
        let hash = said["counter"]["hash"].as_i64().context("no hash")?;
        let announcements = list(&said["requests"]);
        let tasks = announcements
            .iter()
            .map(|request| &request["taskAnnouncement"])
            .filter(|task| task.is_object())
            .map(|task| (text(&task["id"]).to_owned(), text(&task["status"]).to_owned()));
        Ok((hash, tasks.collect()))
    }
}

impl Worker {
    /// The identity of this ordinal, as the overlord calls it.
    pub(super) fn of(manager: &MiddleManager, ordinal: usize) -> Result<Self> {
        let status = manager.status()?;
        let address = text(&status["identities"][ordinal]["address"]);
        ensure!(!address.is_empty(), "no identity {ordinal} in {status}");
        Ok(Self::at(address))
    }

    /// Whatever is at `host:port`.
    pub(super) fn at(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            authorization: None,
        }
    }

    /// Called with these credentials (`user:password` in base64) from now on.
    pub(super) fn with_credentials(&self, encoded: &str) -> Self {
        Self {
            authorization: Some(format!("Basic {encoded}")),
            ..self.clone()
        }
    }

    /// Sends a request and waits for the answer; an error where there is none.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let answer = self.send_and_say(method, path, headers, body, None);
        match &answer {
            Ok(Answer { code, body, .. }) => saw(format_args!(
                "{method} {path} answered {code}: {}",
                String::from_utf8_lossy(body)
            )),
            Err(error) => saw(format_args!("{method} {path}: {error:#}")),
        }
        answer
    }

    /// As [`Self::send`], and says when the request has left.
    pub(super) fn send_and_say(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        sent: Option<&Sender<()>>,
    ) -> Result<Answer> {
        let address: SocketAddr = self.address.parse().context("no address")?;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        stream.set_write_timeout(Some(Duration::from_secs(120)))?;
        let authorization = self.authorization.as_deref().map(|a| ("Authorization", a));
        let length = body.len();
        // Version 1.0: the body ends with the connection and is not chunked.
        let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n");
        for (name, value) in headers.iter().copied().chain(authorization) {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        // Who refuses a body need not read it to its end.
        let written = stream.write_all(body);
        if let Some(sent) = sent {
            // Whoever does not wait for it any more has failed before.
            let _ = sent.send(());
        }
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
            written?;
            read?;
            bail!("{method} {path}: not an HTTP answer");
        };
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let code = head.split_whitespace().nth(1).and_then(|code| code.parse().ok());
        Ok(Answer {
            code: code.context("no status")?,
            head,
            body: answer.split_off(end + 4),
        })
    }

    pub(super) fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], b"")
    }

    pub(super) fn get_json(&self, path: &str) -> Result<Value> {
        self.get(path)?.json()
    }

    /// Asks for the complete state, and waits for it so many milliseconds.
    pub(super) fn poll(&self, timeout: u32) -> Result<Answer> {
        self.get(&format!("/druid-internal/v1/worker?counter=-1&timeout={timeout}"))
    }

    pub(super) fn assign(&self, body: &[u8], media_type: &str) -> Result<Answer> {
        let path = "/druid-internal/v1/worker/assignTask";
        self.send("POST", path, &[("Content-Type", media_type)], body)
    }

    pub(super) fn shutdown(&self, id: &str) -> Result<Answer> {
        self.send("POST", &format!("/druid/worker/v1/task/{id}/shutdown"), &[], b"")
    }

    /// What it says of a task now; `None` for one of which it says nothing.
    pub(super) fn says(&self, id: &str) -> Result<Option<String>> {
        self.says_within(id, 60_000)
    }

    /// As [`Self::says`], an error after so many milliseconds in which it knew no complete state.
    pub(super) fn says_within(&self, id: &str, timeout: u32) -> Result<Option<String>> {
        Ok(self.poll(timeout)?.state()?.1.remove(id))
    }
}

/// A noop as an overlord assigns it.
pub(super) fn assignment(id: &str, run_time: u64) -> Value {
    json!({
        "type": "noop", "id": id, "groupId": id, "dataSource": "none", "runTime": run_time, "isReadyTime": 0,
        "isReadyResult": "YES", "context": {}, "resource": {"availabilityGroup": id, "requiredCapacity": 1},
    })
}

/// The same in Smile, as Druid may write it: with neither names nor values that are shared.
pub(super) fn smile(value: &Value) -> Result<Vec<u8>> {
    let mut bytes = b":)\n\0".to_vec();
    write(value, &mut bytes)?;
    Ok(bytes)
}

fn write(value: &Value, bytes: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Null => bytes.push(0x21),
        Value::Bool(false) => bytes.push(0x22),
        Value::Bool(true) => bytes.push(0x23),
        Value::Number(number) => {
            let number = number.as_i64().context("no whole number")?;
            bytes.push(0x25);
            write_number(number, bytes);
        }
        Value::String(text) => {
            ensure!(text.is_ascii(), "{text} is not ASCII");
            bytes.push(0xe0);
            bytes.extend(text.bytes());
            bytes.push(0xfc);
        }
        Value::Array(items) => {
            bytes.push(0xf8);
            items.iter().try_for_each(|item| write(item, bytes))?;
            bytes.push(0xf9);
        }
        Value::Object(fields) => {
            bytes.push(0xfa);
            for (name, value) in fields {
                ensure!(name.is_ascii() && (1..=64).contains(&name.len()), "{name}");
                bytes.push(0x7f + u8::try_from(name.len())?);
                bytes.extend(name.bytes());
                write(value, bytes)?;
            }
            bytes.push(0xfb);
        }
    }
    Ok(())
}

/// Seven bits a byte, the highest first; of the last, which is marked, six.
fn write_number(number: i64, bytes: &mut Vec<u8>) {
    let mut rest = number.cast_unsigned() << 1 ^ (number >> 63).cast_unsigned();
    let low = |bits: u64, mask: u8| bits.to_le_bytes()[0] & mask;
    let mut reversed = vec![0x80 | low(rest, 0x3f)];
    rest >>= 6;
    while rest > 0 {
        reversed.push(low(rest, 0x7f));
        rest >>= 7;
    }
    bytes.extend(reversed.iter().rev());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::smile;

    #[test]
    fn smile_is_written_as_its_specification_says() {
        let written = smile(&json!({"a": [1, -1, 300, true, null, "b"]})).unwrap();
        let expected = b":)\n\0\xfa\x80a\xf8\x25\x82\x25\x81\x25\x09\x98\x23\x21\xe0b\xfc\xf9\xfb";
        assert_eq!(written, expected);
    }
}
