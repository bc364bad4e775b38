//! The election: reads and writes the Lease, extends the proof of leadership.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};

use super::decide::lease::{Decision, Leadership, Observed, decide, proven_until};

/// Where a candidate stands after a look at the lease.
enum Standing {
    /// It wrote the lease.
    Leads,
    /// Another holds it.
    Follows,
    /// Somebody wrote it between reading and writing: the next look tells who.
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
    /// A candidate named `identity`, which must be its own for as long as the process lives, for the Lease `name`.
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

    /// The proof of leadership, to be asked before each write.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits until this process leads.
    ///
    /// # Access control
    /// leases: get, create, update.
    pub async fn win(&mut self) {
        let mut said = false;
        loop {
            // A request that hangs, on a connection whose other end died, must not keep a standby from leading.
            match tokio::time::timeout(self.duration / 5, self.step()).await {
                Err(_) => tracing::warn!(lease = self.name, "the lease was not read in time"),
                Ok(Ok(Standing::Leads)) => return,
                Ok(Ok(Standing::Follows | Standing::Outrun)) if !said => {
                    said = true;
                    tracing::info!(lease = self.name, "another process leads; standing by");
                }
                Ok(Ok(Standing::Follows | Standing::Outrun)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(
                        lease = self.name,
                        error = crate::apiserver::error::chain(&error),
                        "no election possible"
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
                // The proof lapsed, as after a stop of the process: others may have led meanwhile.
                self.leadership.end();
                return;
            }
            match tokio::time::timeout(self.duration / 5, self.step()).await {
                Ok(Ok(Standing::Leads)) => {}
                Ok(Ok(Standing::Outrun)) => {
                    tracing::warn!(lease = self.name, "the lease was written meanwhile");
                }
                Ok(Ok(Standing::Follows)) => {
                    tracing::error!(lease = self.name, "another process took the lease");
                    self.leadership.end();
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        lease = self.name,
                        error = crate::apiserver::error::chain(&error),
                        "the lease was not renewed"
                    );
                }
                Err(_) => tracing::warn!(lease = self.name, "the lease was not renewed in time"),
            }
            if self.leadership.check().is_err() {
                self.leadership.end();
                return;
            }
        }
    }

    /// Gives the lease up, so that another process leads at once.
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
        match tokio::time::timeout(Duration::from_secs(5), released).await {
            Ok(Ok(())) => tracing::info!(lease = self.name, "lease released"),
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "the lease could not be released"),
            Err(_) => tracing::warn!(lease = self.name, "the lease could not be released in time"),
        }
    }

    /// One look at the lease.
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
