//! Parses the location of logs from an overlord's properties (pure).

use std::collections::BTreeMap;
use std::path::PathBuf;

use object_store::path::Path;
use serde_json::Value;

use super::location::{AzureCredentials, InvalidLocation, Location, S3Encryption, S3Keys, Secret};

/// Our own property: the JSON text of a Google service account's key. Druid reads it from a file named by an
/// environment variable.
pub const GOOGLE_SERVICE_ACCOUNT: &str = "peon.google.serviceAccount";
/// Our own property: the URL of an Azure storage account that does not have the form `<protocol>://<account>.<suffix>`,
/// such as an emulator's.
pub const AZURE_ENDPOINT: &str = "peon.azure.endpoint";

const TYPE: &str = "druid.indexer.logs.type";
const DIRECTORY: &str = "druid.indexer.logs.directory";
const S3_BUCKET: &str = "druid.indexer.logs.s3Bucket";
const S3_PREFIX: &str = "druid.indexer.logs.s3Prefix";
const BUCKET: &str = "druid.indexer.logs.bucket";
const PREFIX: &str = "druid.indexer.logs.prefix";
const CONTAINER: &str = "druid.indexer.logs.container";
const ACCESS_KEY: &str = "druid.s3.accessKey";
const SECRET_KEY: &str = "druid.s3.secretKey";
const SESSION_TOKEN: &str = "druid.s3.sessionToken";
const S3_ENDPOINT: &str = "druid.s3.endpoint.url";
const S3_REGION: &str = "druid.s3.endpoint.signingRegion";
const PATH_STYLE: &str = "druid.s3.enablePathStyleAccess";
const S3_PROTOCOL: &str = "druid.s3.protocol";
const SSE: &str = "druid.storage.sse.type";
const KMS_KEY: &str = "druid.storage.sse.kms.keyId";
const ACCOUNT: &str = "druid.azure.account";
const AZURE_KEY: &str = "druid.azure.key";
const SHARED_ACCESS: &str = "druid.azure.sharedAccessStorageToken";
const AZURE_PROTOCOL: &str = "druid.azure.protocol";
const AZURE_SUFFIX: &str = "druid.azure.storageAccountEndpointSuffix";
/// The older name: the suffix without `blob.`.
const AZURE_OLD_SUFFIX: &str = "druid.azure.endpointSuffix";

/// Implements [`Location::from_properties`].
pub(crate) fn read(properties: &BTreeMap<String, String>) -> Result<Option<Location>, InvalidLocation> {
    let given = Given(properties);
    let Some(type_) = given.get(TYPE) else {
        return Ok(None);
    };
    match type_ {
        "noop" => Ok(None),
        "file" => file(given).map(Some),
        "s3" => s3(given).map(Some),
        "google" => google(given).map(Some),
        "azure" => azure(given).map(Some),
        other => Err(InvalidLocation::Type(other.to_owned())),
    }
}

fn file(given: Given) -> Result<Location, InvalidLocation> {
    let directory = PathBuf::from(given.need("file", DIRECTORY)?);
    if !directory.is_absolute() {
        return Err(wrong(
            DIRECTORY,
            "it must be an absolute path on a volume that the overlord mounts too",
        ));
    }
    Ok(Location::File { directory })
}

fn s3(given: Given) -> Result<Location, InvalidLocation> {
    let protocol = given.protocol(S3_PROTOCOL)?;
    let endpoint = given.get(S3_ENDPOINT).map(|url| {
        let url = url.trim_end_matches('/');
        if url.contains("://") {
            url.to_owned()
        } else {
            format!("{protocol}://{url}")
        }
    });
    let encryption = match given.get(SSE) {
        None => S3Encryption::Bucket,
        Some("s3") => S3Encryption::S3,
        Some("kms") => S3Encryption::Kms(given.get(KMS_KEY).map(str::to_owned)),
        Some(_) => return Err(wrong(SSE, "it must be s3 or kms, or not be set")),
    };
    let keys = match (given.password(ACCESS_KEY)?, given.password(SECRET_KEY)?) {
        (Some(access_key), Some(secret_key)) => {
            let session_token = given.password(SESSION_TOKEN)?;
            Some(S3Keys {
                access_key,
                secret_key,
                session_token,
            })
        }
        (None, None) => None,
        (Some(_), None) => {
            return Err(InvalidLocation::Missing {
                type_: "s3",
                name: SECRET_KEY,
            });
        }
        (None, Some(_)) => {
            return Err(InvalidLocation::Missing {
                type_: "s3",
                name: ACCESS_KEY,
            });
        }
    };
    Ok(Location::S3 {
        bucket: given.need("s3", S3_BUCKET)?.to_owned(),
        prefix: given.prefix("s3", S3_PREFIX)?,
        endpoint,
        region: given.get(S3_REGION).map(str::to_owned),
        path_style: given
            .get(PATH_STYLE)
            .is_some_and(|v| v.eq_ignore_ascii_case("true")),
        encryption,
        keys,
    })
}

fn google(given: Given) -> Result<Location, InvalidLocation> {
    let service_account = given.secret(GOOGLE_SERVICE_ACCOUNT);
    if let Some(text) = &service_account
        && !serde_json::from_str::<Value>(text.expose()).is_ok_and(|v| v.is_object())
    {
        return Err(wrong(
            GOOGLE_SERVICE_ACCOUNT,
            "it must be the JSON text of a service account's key",
        ));
    }
    Ok(Location::Google {
        bucket: given.need("google", BUCKET)?.to_owned(),
        prefix: given.prefix("google", PREFIX)?,
        service_account,
    })
}

fn azure(given: Given) -> Result<Location, InvalidLocation> {
    let account = given.need("azure", ACCOUNT)?.to_owned();
    let protocol = given.protocol(AZURE_PROTOCOL)?;
    let suffix = match (given.get(AZURE_SUFFIX), given.get(AZURE_OLD_SUFFIX)) {
        (Some(suffix), _) => suffix.to_owned(),
        (None, Some(suffix)) => format!("blob.{suffix}"),
        (None, None) => "blob.core.windows.net".to_owned(),
    };
    let endpoint = match given.get(AZURE_ENDPOINT) {
        Some(url) if url.contains("://") => url.trim_end_matches('/').to_owned(),
        Some(_) => return Err(wrong(AZURE_ENDPOINT, "it must be a URL")),
        None => format!("{protocol}://{account}.{suffix}"),
    };
    let credentials = match (given.secret(AZURE_KEY), given.secret(SHARED_ACCESS)) {
        (Some(_), Some(_)) => {
            return Err(wrong(
                AZURE_KEY,
                "druid.azure.sharedAccessStorageToken is set too: set only one of them",
            ));
        }
        (Some(key), None) => Some(AzureCredentials::Key(key)),
        (None, Some(token)) => Some(AzureCredentials::SharedAccess(token)),
        (None, None) => None,
    };
    Ok(Location::Azure {
        container: given.need("azure", CONTAINER)?.to_owned(),
        prefix: given.prefix("azure", PREFIX)?,
        account,
        endpoint,
        credentials,
    })
}

fn wrong(name: &'static str, reason: &str) -> InvalidLocation {
    InvalidLocation::Value {
        name,
        reason: reason.to_owned(),
    }
}

/// The properties; empty ones count as absent.
#[derive(Clone, Copy)]
struct Given<'a>(&'a BTreeMap<String, String>);

impl<'a> Given<'a> {
    fn get(self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    fn need(self, type_: &'static str, name: &'static str) -> Result<&'a str, InvalidLocation> {
        self.get(name).ok_or(InvalidLocation::Missing { type_, name })
    }

    fn secret(self, name: &str) -> Option<Secret> {
        self.get(name).map(|v| Secret::new(v.to_owned()))
    }

    fn protocol(self, name: &'static str) -> Result<&'a str, InvalidLocation> {
        match self.get(name).unwrap_or("https") {
            protocol @ ("http" | "https") => Ok(protocol),
            _ => Err(wrong(name, "it must be http or https")),
        }
    }

    /// Druid joins prefix and task id with a slash, whatever the prefix is; only some of the results are keys that
    /// other programs can address.
    fn prefix(self, type_: &'static str, name: &'static str) -> Result<String, InvalidLocation> {
        let prefix = self.get(name).unwrap_or_default();
        if prefix.is_empty() {
            let reason = format!(
                "it must not be empty with the type {type_}: Druid would look for keys that begin with a \
                 slash"
            );
            return Err(InvalidLocation::Value { name, reason });
        }
        if prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains("//") {
            return Err(wrong(
                name,
                "it must not begin or end with a slash or contain two in a row: Druid would look for keys \
                 with empty parts",
            ));
        }
        match Path::parse(prefix) {
            Ok(_) => Ok(prefix.to_owned()),
            Err(_) => Err(wrong(
                name,
                "it must not contain . or .. as a part, or a control character",
            )),
        }
    }

    /// A value of the kinds that Druid's `PasswordProvider` takes: plain, or JSON of the type `default`.
    fn password(self, name: &'static str) -> Result<Option<Secret>, InvalidLocation> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let Ok(Value::Object(provider)) = serde_json::from_str::<Value>(text) else {
            return Ok(self.secret(name));
        };
        match (
            provider.get("type").and_then(Value::as_str),
            provider.get("password").and_then(Value::as_str),
        ) {
            (Some("default"), Some(password)) => Ok(Some(Secret::new(password.to_owned()))),
            _ => Err(wrong(
                name,
                "of Druid's password providers only the type default is supported: give the value itself",
            )),
        }
    }
}
