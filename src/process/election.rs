//! Leader election: reads and writes the Lease, and extends the proof of leadership.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};

use super::decide::lease::{Decision, Observed, decide, proven_until};
use super::leadership::Leadership;
use crate::apiserver::request::request_within;

/// Time limit for releasing the lease: the process is about to end, and the lease lapses without it.
const RELEASE: Duration = Duration::from_secs(5);

/// State of a candidate after checking the lease.
enum Standing {
    /// This candidate wrote the lease.
    Leads,
    /// Another candidate holds it.
    Follows,
    /// Another candidate wrote it between reading and writing: the next check tells which one.
    Outrun,
}

/// A candidate for a Lease.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    duration: Duration,
    observed: Option<Observed>,
    leadership: Leadership,
}

impl Candidate {
    /// A candidate for the Lease `name`. Its `identity` must be unique for as long as the process lives.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, duration: Duration) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            duration,
            observed: None,
            leadership: Leadership::default(),
        }
    }

    /// The proof of leadership, to be checked before each write.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits until this process leads. Returns whether another one held the lease meanwhile.
    ///
    /// # Access control
    /// leases: get, create, update.
    pub async fn win(&mut self) -> bool {
        let mut said = false;
        loop {
            match request_within(self.limit(), "acquire the lease", self.step()).await {
                Ok(Standing::Leads) => return said,
                Ok(Standing::Follows | Standing::Outrun) if !said => {
                    said = true;
                    tracing::info!(lease = self.name, "another process holds the lease; standing by");
                }
                Ok(Standing::Follows | Standing::Outrun) => {}
                Err(error) => {
                    tracing::warn!(
                        lease = self.name,
                        error = error.why(),
                        "the lease cannot be read or written; it is tried again"
                    );
                }
            }
            tokio::time::sleep(self.duration / 5).await;
        }
    }

    /// Renews the lease for as long as possible; returns when leadership is lost.
    pub async fn hold(&mut self) {
        loop {
            tokio::time::sleep(self.duration / 5).await;
            if self.leadership.check().is_err() {
                // The proof lapsed, for example while the process was stopped: others may have led meanwhile.
                self.leadership.end();
                return;
            }
            match request_within(self.limit(), "renew the lease", self.step()).await {
                Ok(Standing::Leads) => {}
                Ok(Standing::Outrun) => {
                    tracing::warn!(
                        lease = self.name,
                        "another client wrote the lease at the same time; it is read again"
                    );
                }
                Ok(Standing::Follows) => {
                    tracing::error!(lease = self.name, "another process took the lease");
                    self.leadership.end();
                }
                Err(error) => {
                    tracing::warn!(
                        lease = self.name,
                        error = error.why(),
                        "the lease cannot be renewed; it is tried again"
                    );
                }
            }
            if self.leadership.check().is_err() {
                self.leadership.end();
                return;
            }
        }
    }

    /// Releases the lease, so that another process leads at once.
    pub async fn release(&mut self) {
        if self.leadership.check().is_err() {
            return;
        }
        self.leadership.end();
        let released = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else {
                return Ok(());
            };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.identity) {
                spec.holder_identity = Some(String::new());
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await?;
            }
            Ok::<(), kube::Error>(())
        };
        match request_within(RELEASE, "release the lease", released).await {
            Ok(()) => tracing::info!(lease = self.name, "lease released"),
            Err(error) => tracing::warn!(lease = self.name, %error, "the lease could not be released"),
        }
    }

    /// Time limit of one check of the lease, reading and writing together. A request that hangs must leave a leader
    /// time for other renewals before its proof lapses, and must not prevent a standby from leading.
    fn limit(&self) -> Duration {
        self.duration / 5
    }

    /// One check of the lease.
    async fn step(&mut self) -> kube::Result<Standing> {
        let began = Instant::now();
        let current = self.api.get_opt(&self.name).await?;
        self.observe(current.as_ref());
        let spec = current.as_ref().and_then(|l| l.spec.as_ref());
        let decision = decide(
            spec,
            &self.identity,
            self.observed.as_ref(),
            self.duration,
            Instant::now(),
            Timestamp::now(),
        );
        let Decision::Write(spec) = decision else {
            return Ok(Standing::Follows);
        };
        match self.write(current, *spec).await {
            Ok(written) => {
                self.observe(Some(&written));
                self.leadership.extend(proven_until(began, self.duration));
                Ok(Standing::Leads)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Standing::Outrun),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, current: Option<Lease>, spec: LeaseSpec) -> kube::Result<Lease> {
        if let Some(lease) = current {
            // The version in the object makes the write conditional.
            let lease = Lease {
                spec: Some(spec),
                ..lease
            };
            return self.api.replace(&self.name, &PostParams::default(), &lease).await;
        }
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        let lease = Lease {
            metadata,
            spec: Some(spec),
        };
        self.api.create(&PostParams::default(), &lease).await
    }

    fn observe(&mut self, lease: Option<&Lease>) {
        let version = lease.and_then(|l| l.metadata.resource_version.clone());
        if self.observed.as_ref().map(|o| &o.version) != version.as_ref() {
            self.observed = version.map(|version| Observed {
                version,
                since: Instant::now(),
            });
        }
    }
}
