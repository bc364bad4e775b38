//! Creates an object that another one owns, or changes it to its wanted state.

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::classify::owned::{self, Owner};
use super::classify::refusal::Posted;
use super::request::{RequestError, TIMEOUT, create_within, request};
use crate::api::OPERATOR;

/// How often a change is tried while others change the object at the same time; then the next pass tries again.
const TRIES: usize = 3;

/// Outcome of an apply.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// The object, as returned by the API server.
    As(Box<DynamicObject>),
    /// An object with its name belongs to something else, for this reason: it is not changed.
    NameConflict(String),
}

/// An apply failed. It may be retried later.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// This process may no longer write.
    #[error("this process is not the leader")]
    MayNotWrite,
    /// The value to apply is not an object.
    #[error("the object cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The API server refuses the object.
    #[error("{what}: {message}")]
    Refused {
        /// Kind and name of the object.
        what: String,
        /// The message of the API server.
        message: String,
    },
    /// A request failed.
    #[error("{what}: {}", source.why())]
    Request {
        /// Kind and name of the object.
        what: String,
        /// The failure.
        source: RequestError,
    },
}

impl ApplyError {
    /// Whether the API server denies the right to the request.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Request { source, .. } if source.code() == Some(403))
    }
}

/// Applies an object: creates it if none with its name exists, changes it if it is the owner's, by its uid. `may_write`
/// is called before each write.
///
/// The caller needs the rights to get, create and patch objects of that kind.
///
/// # Errors
/// When a request failed, or the API server refused the object.
pub async fn apply(
    client: &Client,
    owner: &Owner,
    object: Value,
    may_write: impl Fn() -> bool,
) -> Result<Applied, ApplyError> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types
        .api_version
        .split_once('/')
        .unwrap_or(("", &types.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &types.kind));
    let namespace = object.namespace().unwrap_or_default();
    let name = object.name_any();
    let applying = Applying {
        api: Api::namespaced_with(client.clone(), &namespace, &resource),
        what: format!("{} {name}", types.kind),
        kind: &types.kind,
        name,
        owner,
        may_write,
    };
    applying.run(object).await
}

struct Applying<'a, F> {
    api: Api<DynamicObject>,
    what: String,
    kind: &'a str,
    name: String,
    owner: &'a Owner,
    may_write: F,
}

impl<F: Fn() -> bool> Applying<'_, F> {
    async fn run(&self, mut object: DynamicObject) -> Result<Applied, ApplyError> {
        let Some(found) = self.get().await? else {
            // Other controllers write a new object at once, as the Deployment controller does: the next pass makes it
            // count as applied.
            return self.create(&object).await;
        };
        if let Some(why) = self.owner.conflict(&found, self.kind) {
            return Ok(Applied::NameConflict(why));
        }
        if !self.count_as_applied(found.clone()).await? {
            return Ok(Applied::As(Box::new(found)));
        }
        // If another object has the name by now, it is not changed.
        object.metadata.uid.clone_from(&found.metadata.uid);
        let params = PatchParams::apply(OPERATOR).force();
        let applied = self.patch(&params, &Patch::Apply(&object)).await?;
        Ok(Applied::As(Box::new(applied)))
    }

    async fn create(&self, object: &DynamicObject) -> Result<Applied, ApplyError> {
        self.check()?;
        let params = PostParams {
            field_manager: Some(OPERATOR.to_owned()),
            ..PostParams::default()
        };
        let posted = create_within(TIMEOUT, "create", self.api.create(&params, object)).await;
        match posted.map_err(|source| self.failed(source))? {
            Posted::Created(created) => Ok(match self.owner.conflict(&created, self.kind) {
                Some(why) => Applied::NameConflict(why),
                None => Applied::As(Box::new(created)),
            }),
            Posted::Exists => Ok(Applied::NameConflict(format!(
                "{} was just created by another client: it is read again",
                self.what
            ))),
            Posted::Refused(refusal) => Err(ApplyError::Refused {
                what: self.what.clone(),
                message: refusal.message().to_owned(),
            }),
        }
    }

    /// Makes fields set at creation count as applied. Returns whether they do: not for now, if others write the object
    /// all the time.
    async fn count_as_applied(&self, mut found: DynamicObject) -> Result<bool, ApplyError> {
        for _ in 0..TRIES {
            let Some(patch) = owned::as_applied(&found) else {
                return Ok(true);
            };
            match self.patch(&PatchParams::default(), &Patch::Merge(&patch)).await {
                Err(ApplyError::Request {
                    source: RequestError::Conflict(..),
                    ..
                }) => {}
                patched => return patched.map(|_| true),
            }
            match self.get().await? {
                Some(now) if now.uid() == found.uid() => found = now,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    async fn get(&self) -> Result<Option<DynamicObject>, ApplyError> {
        let found = request("get", self.api.get_opt(&self.name)).await;
        found.map_err(|source| self.failed(source))
    }

    async fn patch<P: serde::Serialize + std::fmt::Debug>(
        &self,
        params: &PatchParams,
        patch: &Patch<P>,
    ) -> Result<DynamicObject, ApplyError> {
        self.check()?;
        let patched = request("patch", self.api.patch(&self.name, params, patch)).await;
        patched.map_err(|source| self.failed(source))
    }

    fn check(&self) -> Result<(), ApplyError> {
        (self.may_write)().then_some(()).ok_or(ApplyError::MayNotWrite)
    }

    fn failed(&self, source: RequestError) -> ApplyError {
        ApplyError::Request {
            what: self.what.clone(),
            source,
        }
    }
}
