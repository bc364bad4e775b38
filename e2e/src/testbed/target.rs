//! Which cluster tests and the demo use: our own, or the one that the user's kubectl talks to.

use std::env;

use anyhow::{Result, bail};

use crate::testbed::{
    cache::Cache,
    cluster::{Cluster, logs},
    images::{self, Image},
    kubectl::Kubectl,
    lock::Busy,
    progress::Progress,
};

/// A cluster to test on, chosen by the variable `CLUSTER`.
#[derive(Debug)]
pub enum Target {
    /// Our own.
    Own(Box<Cluster>),
    /// `CLUSTER=current`: that of the current kubeconfig. Nothing is started or imported, images must be
    /// there or be pullable.
    Current,
}

impl Target {
    /// Whether the variable asks for a cluster of our own.
    ///
    /// # Errors
    /// When `CLUSTER` has an unknown value.
    pub fn is_own() -> Result<bool> {
        Ok(!current_wanted()?)
    }

    /// Chooses; starts a new cluster of our own when nothing else is asked for.
    ///
    /// # Errors
    /// When `CLUSTER` has an unknown value or our own cluster does not start.
    pub fn choose(cache: &Cache, busy: Busy, progress: &Progress) -> Result<Self> {
        if current_wanted()? {
            Ok(Self::Current)
        } else {
            Cluster::up(cache, busy, progress).map(Box::new).map(Self::Own)
        }
    }

    /// Like [`Target::choose`], but uses our own cluster as it is when it is up already. Such a cluster
    /// stays up when this value goes away.
    ///
    /// # Errors
    /// As [`Target::choose`].
    pub fn choose_running(cache: &Cache, busy: Busy, progress: &Progress) -> Result<Self> {
        if current_wanted()? {
            Ok(Self::Current)
        } else {
            Cluster::attach_or_up(cache, busy, progress)
                .map(Box::new)
                .map(Self::Own)
        }
    }

    /// Leaves our own cluster running.
    pub fn keep(self) {
        if let Self::Own(cluster) = self {
            cluster.keep();
        }
    }

    /// Ends our own cluster, unless it was running before.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn down(self) -> Result<()> {
        match self {
            Self::Own(cluster) => cluster.down_if_owned(),
            Self::Current => Ok(()),
        }
    }

    /// kubectl for this cluster.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        match self {
            Self::Own(cluster) => cluster.kubectl(),
            Self::Current => Kubectl::current(),
        }
    }

    /// Our own cluster, when it is that.
    #[must_use]
    pub fn own(&self) -> Option<&Cluster> {
        match self {
            Self::Own(cluster) => Some(cluster),
            Self::Current => None,
        }
    }

    /// The name of an image for pods, which on our own cluster is built and imported first.
    ///
    /// On a foreign cluster it is `OPERATOR_IMAGE` or `DRUID_IMAGE`, the latter with a default.
    ///
    /// # Errors
    /// When it cannot be built or imported, or has no name.
    pub fn image(&self, image: Image, cache: &Cache, progress: &Progress) -> Result<String> {
        let Self::Own(cluster) = self else {
            return foreign_image(image);
        };
        let archives = images::build(cache, &[image], progress)?;
        archives.iter().try_for_each(|archive| cluster.import(archive))?;
        Ok(archives.into_iter().map(|archive| archive.reference).collect())
    }

    /// Collects logs of everything into `folder`.
    ///
    /// # Errors
    /// When `folder` cannot be written to.
    pub fn collect_logs(&self, folder: &std::path::Path) -> Result<()> {
        match self {
            Self::Own(cluster) => cluster.collect_logs(folder),
            Self::Current => logs::collect(None, &self.kubectl(), folder),
        }
    }
}

fn current_wanted() -> Result<bool> {
    match env::var("CLUSTER").as_deref() {
        Err(_) | Ok("") => Ok(false),
        Ok("current") => Ok(true),
        Ok(other) => {
            bail!("CLUSTER is `{other}`: leave it unset for a cluster of our own, or set it to `current`")
        }
    }
}

fn foreign_image(image: Image) -> Result<String> {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    match image {
        Image::Druid => {
            Ok(set("DRUID_IMAGE")
                .unwrap_or_else(|| format!("docker.io/apache/druid:{}", images::DRUID_VERSION)))
        }
        Image::Operator => match set("OPERATOR_IMAGE") {
            Some(name) => Ok(name),
            None => bail!("set OPERATOR_IMAGE to an image of the operator that the current cluster can pull"),
        },
        Image::Kafka => bail!("the Kafka broker runs on a cluster of our own only"),
        Image::Pause => bail!("a foreign cluster has a pause image of its own"),
    }
}
