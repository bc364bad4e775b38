//! The client of a store: credentials, retries, time-outs.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut, S3CopyIfNotExists};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use crate::logs::format::location::{AzureCredentials, Location, S3Encryption, S3Keys, Secret};

/// Time limit for connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a store may send nothing. This does not limit the whole request: a long log may be read slowly.
const SILENCE: Duration = Duration::from_secs(20);
/// No request is retried after this time, so that a call to a store that is down fails within about 30 s.
const RETRY_WITHIN: Duration = Duration::from_secs(9);
const RETRIES: usize = 4;
/// The region that Amazon and most other servers assume for requests that name none.
const REGION: &str = "us-east-1";

/// Whose credentials a client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Only the credentials in the location. The process's environment and the machine's identity are ignored, so a
    /// template cannot borrow the operator's rights.
    Explicit,
    /// The credentials in the location; without them, those of the process: its environment, the workload identity of
    /// its pod or the machine's identity.
    Ambient,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The location has no credentials, and may not use the process's.
    #[error("{location} has no credentials: set {properties}")]
    NoCredentials {
        /// The location.
        location: String,
        /// The properties that would contain them.
        properties: &'static str,
    },
    /// The directory does not exist. It is not created: it should be a volume that the overlord sees too.
    #[error("{directory} cannot be used ({source}): mount the volume where the overlord reads logs")]
    Directory {
        /// The directory.
        directory: String,
        /// The cause.
        source: object_store::Error,
    },
    /// The credentials or the endpoint are malformed.
    #[error("{location} cannot be used with these properties: {source}")]
    Properties {
        /// The location.
        location: String,
        /// The client's error message.
        source: object_store::Error,
    },
}

/// A client of the store of this location. No request is sent yet.
///
/// A call that fails is retried for up to 9 s, and fails within about 30 s if the store does not answer; the caller
/// tries again later.
///
/// # Errors
/// When the directory is not there or the properties have no usable form.
pub fn open(location: &Location, identity: Identity) -> Result<Arc<dyn ObjectStore>, StoreError> {
    // The first one stays: both this and the Kubernetes client mean ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if identity == Identity::Explicit && !location.has_credentials() {
        return Err(StoreError::NoCredentials {
            location: location.to_string(),
            properties: location.credential_properties(),
        });
    }
    let opened = match location {
        Location::File { directory } => {
            // Only the last folder, as Druid does; the folders above it are a mount, which is not created here.
            let _ = std::fs::create_dir(directory);
            let opened = LocalFileSystem::new_with_prefix(directory);
            let opened = opened.map(|store| store.with_automatic_cleanup(true).with_fsync(true));
            return opened
                .map(|store| Arc::new(store) as _)
                .map_err(|source| StoreError::Directory {
                    directory: directory.display().to_string(),
                    source,
                });
        }
        Location::S3 { keys, .. } => s3(location, keys.as_ref()),
        Location::Google {
            bucket,
            service_account,
            ..
        } => google(bucket, service_account.as_ref()),
        Location::Azure {
            account,
            container,
            endpoint,
            credentials,
            ..
        } => azure(account, container, endpoint, credentials.as_ref()),
    };
    opened.map_err(|source| StoreError::Properties {
        location: location.to_string(),
        source,
    })
}

fn s3(location: &Location, keys: Option<&S3Keys>) -> object_store::Result<Arc<dyn ObjectStore>> {
    let builder = match keys {
        Some(keys) => {
            let builder = AmazonS3Builder::new()
                .with_access_key_id(keys.access_key.expose())
                .with_secret_access_key(keys.secret_key.expose())
                .with_region(REGION);
            match &keys.session_token {
                Some(token) => builder.with_token(token.expose()),
                None => builder,
            }
        }
        None => AmazonS3Builder::from_env(),
    };
    let Location::S3 {
        bucket,
        endpoint,
        region,
        path_style,
        encryption,
        ..
    } = location
    else {
        return builder.build().map(|store| Arc::new(store) as _);
    };
    let mut builder = builder
        .with_bucket_name(bucket)
        .with_client_options(options(endpoint.as_deref()))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
        .with_retry(retry());
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = endpoint {
        builder = match virtual_host(endpoint, bucket).filter(|_| !path_style) {
            Some(host) => builder
                .with_endpoint(host)
                .with_virtual_hosted_style_request(true),
            None => builder
                .with_endpoint(endpoint)
                .with_virtual_hosted_style_request(false),
        };
    } else {
        builder = builder.with_virtual_hosted_style_request(!path_style && !bucket.contains('.'));
    }
    builder = match encryption {
        S3Encryption::Bucket => builder,
        S3Encryption::S3 => builder.with_config("aws_server_side_encryption".parse()?, "AES256"),
        S3Encryption::Kms(key) => {
            let builder = builder.with_config("aws_server_side_encryption".parse()?, "aws:kms");
            match key {
                Some(key) => builder.with_config("aws_sse_kms_key_id".parse()?, key),
                None => builder,
            }
        }
    };
    builder.build().map(|store| Arc::new(store) as _)
}

fn google(bucket: &str, service_account: Option<&Secret>) -> object_store::Result<Arc<dyn ObjectStore>> {
    let (builder, base) = match service_account {
        Some(key) => {
            let builder = GoogleCloudStorageBuilder::new().with_service_account_key(key.expose());
            (builder, base_url(key.expose()))
        }
        None => (GoogleCloudStorageBuilder::from_env(), None),
    };
    let builder = builder
        .with_bucket_name(bucket)
        .with_client_options(options(base.as_deref()))
        .with_retry(retry());
    builder.build().map(|store| Arc::new(store) as _)
}

fn azure(
    account: &str,
    container: &str,
    endpoint: &str,
    credentials: Option<&AzureCredentials>,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let builder = match credentials {
        Some(AzureCredentials::Key(key)) => MicrosoftAzureBuilder::new().with_access_key(key.expose()),
        Some(AzureCredentials::SharedAccess(token)) => {
            MicrosoftAzureBuilder::new().with_config(AzureConfigKey::SasKey, token.expose())
        }
        None => MicrosoftAzureBuilder::from_env(),
    };
    let builder = builder
        .with_account(account)
        .with_container_name(container)
        .with_endpoint(endpoint.to_owned())
        .with_client_options(options(Some(endpoint)))
        .with_retry(retry());
    builder.build().map(|store| Arc::new(store) as _)
}

fn options(endpoint: Option<&str>) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(endpoint.is_some_and(|url| url.starts_with("http://")))
        .with_connect_timeout(CONNECT)
        .with_read_timeout(SILENCE)
        .with_timeout_disabled()
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(3),
        base: 2.,
    };
    RetryConfig {
        backoff,
        max_retries: RETRIES,
        retry_timeout: RETRY_WITHIN,
    }
}

/// The endpoint with the bucket in its host name; `None` if that is not possible: the endpoint is an address, or the
/// bucket contains dots.
fn virtual_host(endpoint: &str, bucket: &str) -> Option<String> {
    let (scheme, host) = endpoint.split_once("://")?;
    let name = host.split(['/', ':']).next()?;
    let is_address = host.starts_with('[') || name.parse::<std::net::IpAddr>().is_ok();
    (!is_address && name.contains('.') && !bucket.contains('.'))
        .then(|| format!("{scheme}://{bucket}.{host}"))
}

/// The store's URL in a service account's key: for emulators and private endpoints.
fn base_url(key: &str) -> Option<String> {
    let key: serde_json::Value = serde_json::from_str(key).ok()?;
    Some(key.get("gcs_base_url")?.as_str()?.to_owned())
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
