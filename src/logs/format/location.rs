//! Where logs are archived (pure).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use object_store::path::Path;

use super::properties;

/// A value that is never printed: neither in errors nor by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value so that it is not printed.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the code that has to send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Keys of an S3 account: `druid.s3.accessKey`, `druid.s3.secretKey`, `druid.s3.sessionToken`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Keys {
    /// The access key's id.
    pub access_key: Secret,
    /// The access key.
    pub secret_key: Secret,
    /// The token of temporary keys.
    pub session_token: Option<Secret>,
}

/// How S3 encrypts stored objects: `druid.storage.sse.type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Encryption {
    /// As configured in the bucket.
    Bucket,
    /// With S3's own keys (`s3`).
    S3,
    /// With a KMS key (`kms`): `druid.storage.sse.kms.keyId`, else the account's default key.
    Kms(Option<String>),
}

/// Credentials of an Azure storage account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AzureCredentials {
    /// `druid.azure.key`.
    Key(Secret),
    /// `druid.azure.sharedAccessStorageToken`.
    SharedAccess(Secret),
}

/// A store and the location in it, with the credentials that the properties contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory that the overlord sees too: a shared volume.
    File {
        /// `druid.indexer.logs.directory`, an absolute path.
        directory: PathBuf,
    },
    /// Amazon S3, or a server that speaks its protocol.
    S3 {
        /// `druid.indexer.logs.s3Bucket`.
        bucket: String,
        /// `druid.indexer.logs.s3Prefix`, never empty, without slashes at its ends.
        prefix: String,
        /// `druid.s3.endpoint.url` with its scheme; default: Amazon's endpoint of the region.
        endpoint: Option<String>,
        /// `druid.s3.endpoint.signingRegion`.
        region: Option<String>,
        /// `druid.s3.enablePathStyleAccess`: the bucket is in the path and not in the host name.
        path_style: bool,
        /// `druid.storage.sse.type`.
        encryption: S3Encryption,
        /// `druid.s3.accessKey` and the related keys.
        keys: Option<S3Keys>,
    },
    /// Google Cloud Storage.
    Google {
        /// `druid.indexer.logs.bucket`.
        bucket: String,
        /// `druid.indexer.logs.prefix`, never empty, without slashes at its ends.
        prefix: String,
        /// `peon.google.serviceAccount`: the JSON text of the file that `GOOGLE_APPLICATION_CREDENTIALS` would name.
        service_account: Option<Secret>,
    },
    /// Azure Blob Storage.
    Azure {
        /// `druid.azure.account`.
        account: String,
        /// `druid.indexer.logs.container`.
        container: String,
        /// `druid.indexer.logs.prefix`, never empty, without slashes at its ends.
        prefix: String,
        /// `peon.azure.endpoint`, else `<druid.azure.protocol>://<account>.<druid.azure.storageAccountEndpointSuffix>`.
        endpoint: String,
        /// `druid.azure.key` or `druid.azure.sharedAccessStorageToken`.
        credentials: Option<AzureCredentials>,
    },
}

/// Why properties define no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLocation {
    /// Logs cannot be archived to this `druid.indexer.logs.type`.
    #[error(
        "druid.indexer.logs.type is {0:?}: it must be file, s3, google, azure or noop (logs are not archived)"
    )]
    Type(String),
    /// A property that this type needs is missing.
    #[error("druid.indexer.logs.type is {type_}, which needs the property {name}")]
    Missing {
        /// The type.
        type_: &'static str,
        /// The property's name.
        name: &'static str,
    },
    /// A property is not valid. Its value is not repeated: it may be secret.
    #[error("the property {name} cannot be used: {reason}")]
    Value {
        /// The property's name.
        name: &'static str,
        /// The valid values.
        reason: String,
    },
}

impl Location {
    /// Reads the properties of an overlord. Other properties are ignored, so the whole `runtime.properties` may be
    /// passed. `None` if nothing is archived: no `druid.indexer.logs.type`, or `noop`.
    ///
    /// Druid's own default, the directory `log` of the overlord's container, is not assumed: no other process sees it.
    ///
    /// # Errors
    /// [`InvalidLocation`] names the property and says what it must be.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<Option<Self>, InvalidLocation> {
        properties::read(properties)
    }

    /// URL of the object with this key: `s3://bucket/key`, `gs://bucket/key`, `azure://container/key`, or the path of a
    /// file. It contains no secret.
    #[must_use]
    pub fn url(&self, key: &Path) -> String {
        match self {
            Self::File { directory } => directory.join(key.as_ref()).display().to_string(),
            Self::S3 { bucket, .. } => format!("s3://{bucket}/{key}"),
            Self::Google { bucket, .. } => format!("gs://{bucket}/{key}"),
            Self::Azure { container, .. } => format!("azure://{container}/{key}"),
        }
    }

    /// Whether the properties contain credentials. A directory needs none.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        match self {
            Self::File { .. } => true,
            Self::S3 { keys, .. } => keys.is_some(),
            Self::Google { service_account, .. } => service_account.is_some(),
            Self::Azure { credentials, .. } => credentials.is_some(),
        }
    }

    /// The properties that contain credentials, for messages.
    #[must_use]
    pub fn credential_properties(&self) -> &'static str {
        match self {
            Self::File { .. } => "druid.indexer.logs.directory",
            Self::S3 { .. } => "druid.s3.accessKey and druid.s3.secretKey",
            Self::Google { .. } => properties::GOOGLE_SERVICE_ACCOUNT,
            Self::Azure { .. } => "druid.azure.key or druid.azure.sharedAccessStorageToken",
        }
    }
}

/// The store and the location in it, without credentials.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { directory } => write!(f, "{}", directory.display()),
            Self::S3 { bucket, prefix, .. } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Google { bucket, prefix, .. } => write!(f, "gs://{bucket}/{prefix}"),
            Self::Azure {
                container, prefix, ..
            } => write!(f, "azure://{container}/{prefix}"),
        }
    }
}

#[cfg(test)]
#[path = "location_tests.rs"]
mod tests;
