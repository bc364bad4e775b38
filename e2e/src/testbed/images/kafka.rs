//! The image of a Kafka broker, from Maven's artifacts and Debian's Java.

use anyhow::Result;

use super::{
    Archive,
    java::{Libraries, Program},
};
use crate::testbed::{cache::Cache, progress::Progress};

/// The version whose clients Druid's extension has.
const VERSION: &str = "3.9.0";

const POM: &str = include_str!("../../../kafka/pom.xml");
const DOCKERFILE: &str = include_str!("../../../kafka/Dockerfile");

/// Fetches Kafka with all it depends on and puts it on the Debian that Druid's image has.
pub(super) fn build(cache: &Cache, progress: &Progress) -> Result<Archive> {
    let kafka = Program {
        name: "Kafka",
        version: VERSION,
        dockerfile: DOCKERFILE,
        libraries: &[Libraries {
            pom: POM,
            folder: "lib",
            at_least: 40,
        }],
        files: &[],
        takes: "a minute",
    };
    kafka.build(cache, progress)
}
