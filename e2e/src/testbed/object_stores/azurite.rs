//! Azure: azurite, read by plain HTTP with a shared access signature.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{BUCKET, PREFIX, Place, http, programs, server::Server};
use crate::testbed::{cache::Cache, progress::Progress};

/// Made up for the tests.
const ACCOUNT: &str = "peonoperator";
const KEY: &str = "dGhlIGtleSBvZiBhbiBlbXVsYXRvciwgd2hpY2ggaXMgbm8gc2VjcmV0";
const VERSION: &str = "2022-11-02";
const EXPIRES: &str = "2099-01-01T00:00:00Z";

pub(crate) struct Azurite {
    server: Server,
    signature: String,
}

impl Azurite {
    pub(crate) fn start(cache: &Cache, progress: &Progress) -> Result<Self> {
        let script = programs::azurite(cache, progress)?;
        let server = Server::start(
            |port, folder| {
                let mut command = Command::new("node");
                command
                    .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"))
                    .arg(script);
                command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
                command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
                command.arg("--location").arg(folder.join("data"));
                Ok(command)
            },
            |port| http::request(port, "GET", "/", "", b"").is_ok(),
        )?;
        let azurite = Self {
            server,
            signature: shared_access()?,
        };
        let (status, said) = azurite.request("PUT", &format!("{BUCKET}?restype=container&"))?;
        ensure!(
            status == 201,
            "no container: {status} {}",
            String::from_utf8_lossy(&said)
        );
        Ok(azurite)
    }

    fn request(&self, method: &str, path: &str) -> Result<(u16, Vec<u8>)> {
        let path = format!("/{ACCOUNT}/{path}{}", self.signature);
        let headers = format!("x-ms-version: {VERSION}\r\n");
        http::request(self.server.port, method, &path, &headers, b"")
    }

    fn properties_with(&self, key: &str) -> String {
        format!(
            "druid.indexer.logs.type=azure\ndruid.indexer.logs.container={BUCKET}\ndruid.indexer.logs.prefix={PREFIX}\n\
             druid.azure.account={ACCOUNT}\ndruid.azure.key={key}\n\
             peon.azure.endpoint=http://127.0.0.1:{}/{ACCOUNT}\n",
            self.server.port
        )
    }
}

impl Place for Azurite {
    fn properties(&self) -> String {
        self.properties_with(KEY)
    }

    fn refused(&self) -> Option<(String, &'static str)> {
        let other = STANDARD.encode("not the key");
        Some((self.properties_with(&other), ": check druid.azure.key"))
    }

    fn log(&self, id: &str) -> String {
        format!("{PREFIX}/{id}/log")
    }

    fn report(&self, id: &str) -> String {
        format!("{PREFIX}/{id}/report.json")
    }

    fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let (status, body) = self.request("GET", &format!("{BUCKET}/{}?", http::encoded(key, "/")))?;
        match status {
            200 => Ok(Some(body)),
            404 => Ok(None),
            _ => anyhow::bail!("{key}: {status} {}", String::from_utf8_lossy(&body)),
        }
    }

    fn keys(&self) -> Result<Vec<String>> {
        let (status, body) = self.request("GET", &format!("{BUCKET}?restype=container&comp=list&"))?;
        ensure!(status == 200, "{status}");
        let body = String::from_utf8(body).context("not UTF-8")?;
        let names = body.split("<Name>").skip(1);
        Ok(names
            .filter_map(|rest| rest.split("</Name>").next())
            .map(|name| {
                name.replace("&lt;", "<")
                    .replace("&gt;", ">")
                    .replace("&amp;", "&")
            })
            .collect())
    }
}

/// The query of an account's shared access signature, by which every blob may be read and every container created.
fn shared_access() -> Result<String> {
    let (permissions, services, types, protocols) = ("rwlac", "b", "sco", "https,http");
    let fields = [
        ACCOUNT,
        permissions,
        services,
        types,
        "",
        EXPIRES,
        "",
        protocols,
        VERSION,
        "",
        "",
    ];
    let key = STANDARD.decode(KEY)?;
    let signature = STANDARD.encode(hmac_sha256(&key, fields.join("\n").as_bytes()));
    Ok(format!(
        "sv={VERSION}&ss={services}&srt={types}&sp={permissions}&se={}&spr={}&sig={}",
        http::encoded(EXPIRES, ""),
        http::encoded(protocols, ""),
        http::encoded(&signature, "")
    ))
}

/// RFC 2104, for keys of at most 64 bytes.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let pad = |with: u8| -> Vec<u8> {
        (0..64)
            .map(|at| key.get(at).copied().unwrap_or(0) ^ with)
            .collect()
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    outer.to_vec()
}
