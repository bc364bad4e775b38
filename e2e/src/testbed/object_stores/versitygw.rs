//! S3: versitygw, which keeps a bucket as a folder and an object as a file. What is read here are those files.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;

use super::{
    BUCKET, PREFIX, Place,
    file::{files_below, read_file},
    http, programs,
    server::Server,
};
use crate::testbed::{cache::Cache, exec, progress::Progress};

const ACCESS_KEY: &str = "peon";
const SECRET_KEY: &str = "a-secret-of-the-tests";

pub(crate) struct Versitygw(Server);

impl Versitygw {
    pub(crate) fn start(cache: &Cache, progress: &Progress) -> Result<Self> {
        let program = programs::versitygw(cache, progress)?;
        let server = Server::start(
            |port, folder| {
                fs::create_dir_all(folder.join("data"))?;
                // In files, and not in attributes that some file systems do not have.
                fs::create_dir_all(folder.join("meta"))?;
                let mut command = Command::new(&program);
                command
                    .env("ROOT_ACCESS_KEY", ACCESS_KEY)
                    .env("ROOT_SECRET_KEY", SECRET_KEY)
                    .args([
                        "--quiet",
                        "--port",
                        &format!("127.0.0.1:{port}"),
                        "posix",
                        "--sidecar",
                    ])
                    .arg(folder.join("meta"))
                    .arg(folder.join("data"));
                Ok(command)
            },
            |port| http::request(port, "GET", "/", "", b"").is_ok(),
        )?;
        let mut create = Command::new(&program);
        create.args(["admin", "--access", ACCESS_KEY, "--secret", SECRET_KEY]);
        create.args(["--endpoint-url", &format!("http://127.0.0.1:{}", server.port)]);
        create.args(["create-bucket", "--owner", ACCESS_KEY, "--bucket", BUCKET]);
        exec::output(&mut create)?;
        Ok(Self(server))
    }

    fn bucket(&self) -> PathBuf {
        self.0.folder().join("data").join(BUCKET)
    }

    fn properties_with(&self, secret: &str) -> String {
        format!(
            "druid.indexer.logs.type=s3\ndruid.indexer.logs.s3Bucket={BUCKET}\ndruid.indexer.logs.s3Prefix={PREFIX}\n\
             druid.s3.accessKey={ACCESS_KEY}\ndruid.s3.secretKey={secret}\ndruid.s3.protocol=http\n\
             druid.s3.endpoint.url=127.0.0.1:{}\ndruid.s3.enablePathStyleAccess=true\n",
            self.0.port
        )
    }
}

impl Place for Versitygw {
    fn properties(&self) -> String {
        self.properties_with(SECRET_KEY)
    }

    fn refused(&self) -> Option<(String, &'static str)> {
        Some((
            self.properties_with("not-the-secret"),
            ": check druid.s3.accessKey",
        ))
    }

    fn log(&self, id: &str) -> String {
        format!("{PREFIX}/{id}/log")
    }

    fn report(&self, id: &str) -> String {
        format!("{PREFIX}/{id}/report.json")
    }

    fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        read_file(&self.bucket().join(key))
    }

    fn keys(&self) -> Result<Vec<String>> {
        let mut keys = files_below(&self.bucket())?;
        // The server's own.
        keys.retain(|key| !key.starts_with(".sgwtmp/"));
        Ok(keys)
    }
}
