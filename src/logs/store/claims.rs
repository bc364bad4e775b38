//! Claims in a store: read, created, and replaced only by a process that has read the latest one.
//!
//! S3, Google and Azure replace an object on condition that it is the one that was read. A directory cannot: there a
//! claim is a folder of numbered files, of which the highest number counts, and each file is created only if it does
//! not exist. So if two processes read the same claim, only one of them replaces it, in every store.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, UpdateVersion};

use super::archive::{Archive, ArchiveError};
use crate::logs::format::claim::Claim;

/// A claim that was read.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) claim: Claim,
    version: Version,
}

#[derive(Debug, Clone)]
enum Version {
    Object(UpdateVersion),
    Number(u32),
}

impl Archive {
    /// The claim of these keys, if there is one.
    pub(crate) async fn read_claim(&self, key: &Path) -> Result<Option<Held>, ArchiveError> {
        let Some(key) = self.newest_claim(key).await? else {
            return Ok(None);
        };
        let got = match self.store.get(&key).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(&key, &error)),
        };
        let version = match number(&key).filter(|_| self.layout.numbers_claims()) {
            Some(number) => Version::Number(number),
            None => Version::Object(UpdateVersion {
                e_tag: got.meta.e_tag.clone(),
                version: got.meta.version.clone(),
            }),
        };
        let json = got.bytes().await.map_err(|e| self.failed(&key, &e))?;
        // A claim that cannot be read belongs to no task, and no task takes it over.
        let claim = serde_json::from_slice(&json).unwrap_or_default();
        Ok(Some(Held { claim, version }))
    }

    async fn newest_claim(&self, key: &Path) -> Result<Option<Path>, ArchiveError> {
        if !self.layout.numbers_claims() {
            return Ok(Some(key.clone()));
        }
        let found: Vec<_> = self
            .store
            .list(Some(key))
            .try_collect()
            .await
            .map_err(|e| self.failed(key, &e))?;
        let keys = found.into_iter().map(|meta| meta.location);
        Ok(keys.filter(|key| number(key).is_some()).max())
    }

    /// Creates a claim, or replaces the one that was read. `false` if another process was faster.
    pub(crate) async fn put_claim(
        &self,
        key: &Path,
        claim: &Claim,
        over: Option<&Held>,
    ) -> Result<bool, ArchiveError> {
        // Texts and numbers are always valid JSON.
        let json = Bytes::from(serde_json::to_vec(claim).unwrap_or_default());
        let (key, mode) = match over.map(|held| &held.version) {
            None if self.layout.numbers_claims() => (numbered(key, 1), PutMode::Create),
            None => (key.clone(), PutMode::Create),
            Some(Version::Number(number)) => (numbered(key, number.saturating_add(1)), PutMode::Create),
            Some(Version::Object(version)) => (key.clone(), PutMode::Update(version.clone())),
        };
        match self.store.put_opts(&key, json.into(), mode.into()).await {
            Ok(_) => Ok(true),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotModified { .. },
            ) => Ok(false),
            Err(error) => Err(self.failed(&key, &error)),
        }
    }
}

/// Names sort in the order of their numbers.
fn numbered(folder: &Path, number: u32) -> Path {
    folder.clone().join(format!("{number:010}.json"))
}

fn number(key: &Path) -> Option<u32> {
    key.filename()?.strip_suffix(".json")?.parse().ok()
}
