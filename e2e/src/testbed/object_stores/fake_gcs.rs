//! Google Cloud Storage: fake-gcs-server, read by plain HTTP through the JSON interface, which ours does not use.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{BUCKET, PREFIX, Place, http, programs, server::Server, xml_put};
use crate::testbed::{cache::Cache, progress::Progress};

pub(crate) struct FakeGcs {
    server: Server,
    relay: u16,
}

impl FakeGcs {
    pub(crate) fn start(cache: &Cache, progress: &Progress) -> Result<Self> {
        let program = programs::fake_gcs(cache, progress)?;
        let server = Server::start(
            |port, _| {
                let mut command = Command::new(program);
                command
                    .args(["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1"])
                    .args([
                        "-port",
                        &port.to_string(),
                        "-public-host",
                        &format!("127.0.0.1:{port}"),
                    ]);
                Ok(command)
            },
            |port| {
                matches!(
                    http::request(port, "GET", "/_internal/healthcheck", "", b""),
                    Ok((200, _))
                )
            },
        )?;
        let bucket = json!({ "name": BUCKET }).to_string();
        let path = "/storage/v1/b?project=tests";
        let (status, _) = http::request(server.port, "POST", path, "", bucket.as_bytes())?;
        ensure!(status == 200, "no bucket: {status}");
        let relay = xml_put::relay(server.port)?;
        Ok(Self { server, relay })
    }

    fn properties_with(account: &Value) -> String {
        format!(
            "druid.indexer.logs.type=google\ndruid.indexer.logs.bucket={BUCKET}\ndruid.indexer.logs.prefix={PREFIX}\n\
             peon.google.serviceAccount={account}\n"
        )
    }
}

impl Place for FakeGcs {
    fn properties(&self) -> String {
        Self::properties_with(&json!({
            "gcs_base_url": format!("http://127.0.0.1:{}", self.relay),
            "disable_oauth": true,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }))
    }

    /// The server refuses nobody; a key that is none is found before it is asked.
    fn refused(&self) -> Option<(String, &'static str)> {
        let account = json!({
            "client_email": "peon@example.org", "private_key": "no key", "private_key_id": "1",
        });
        Some((
            Self::properties_with(&account),
            "cannot be used with these properties",
        ))
    }

    fn log(&self, id: &str) -> String {
        format!("{PREFIX}/{}", id.replace(':', "_"))
    }

    fn report(&self, id: &str) -> String {
        format!("{PREFIX}/{}.report.json", id.replace(':', "_"))
    }

    fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let path = format!("/storage/v1/b/{BUCKET}/o/{}?alt=media", http::encoded(key, ""));
        match http::request(self.server.port, "GET", &path, "", b"")? {
            (200, body) => Ok(Some(body)),
            (404, _) => Ok(None),
            (status, body) => anyhow::bail!("{key}: {status} {}", String::from_utf8_lossy(&body)),
        }
    }

    fn keys(&self) -> Result<Vec<String>> {
        let path = format!("/storage/v1/b/{BUCKET}/o");
        let (_, body) = http::request(self.server.port, "GET", &path, "", b"")?;
        let body: Value = serde_json::from_slice(&body).context("not JSON")?;
        let names = body["items"].as_array().into_iter().flatten();
        Ok(names
            .filter_map(|item| item["name"].as_str())
            .map(str::to_owned)
            .collect())
    }

    fn takes_large_objects(&self) -> bool {
        false
    }
}
