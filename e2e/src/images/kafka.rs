//! The image of a Kafka broker, from Maven's artifacts and Debian's Java.

use anyhow::Result;

use super::{Archive, buildah::Buildah, java};
use crate::{
    cache::{self, Cache},
    progress::Progress,
};

/// The version whose clients Druid's extension has.
const VERSION: &str = "3.9.0";

const POM: &str = include_str!("../../kafka/pom.xml");
const DOCKERFILE: &str = include_str!("../../kafka/Dockerfile");

/// Fetches Kafka with all it depends on and puts it on the Debian that Druid's image has.
pub(super) fn build(cache: &Cache, progress: &Progress) -> Result<Archive> {
    let reference = format!("localhost/kafka:{VERSION}");
    let [packages, hook] = java::base_parts();
    let parts = [POM, DOCKERFILE, &packages, &hook].map(str::as_bytes);
    let name = format!("images/kafka-{}.tar", cache::content_hash(parts));
    let path = cache.entry(&name, |archive| {
        let step = progress.slow_step("Kafka image", "fetching and building, a minute the first time");
        let context = cache.path("images/kafka.context");
        cache::remove(&context)?;
        cache::write(&context.join("Dockerfile"), DOCKERFILE)?;
        java::fetch(cache, POM, &context.join("lib"), 40)?;
        let buildah = Buildah::new(cache)?;
        let base = java::base(cache, &buildah)?;
        buildah.build(
            &context.join("Dockerfile"),
            &context,
            Some(&base),
            &reference,
            archive,
        )?;
        cache::remove(&context)?;
        step.done("built");
        Ok(())
    })?;
    Ok(Archive { reference, path })
}
