//! Writes the argument files of Java for the end-to-end cases. Standard input is a JSON array of PeonTemplates and
//! IndexerPools; standard output is a JSON object of the argument files: `peon: NAME` of a noop task with that template,
//! `indexer: NAME` of a pool.
//!
//! Not a part of the product: it is in no image. The cases start Java with what the operator's own code writes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use kube::ResourceExt as _;
use peon_operator::api::{IndexerPool, MemoryLadder, PeonTaskSpec, PeonTemplate, PeonTemplateSpec};
use peon_operator::druid::payload::Payload;
use peon_operator::druid::properties::RuntimeProperties;
use peon_operator::pool;
use peon_operator::task::accept::settings::{Levels, Settings};
use peon_operator::task::accept::{jvm, peon_ports};
use serde_json::Value;

const NOOP: &str = r#"{"type": "noop", "id": "noop", "runTime": 1}"#;

fn main() -> Result<()> {
    let objects: Vec<Value> = serde_json::from_reader(std::io::stdin())?;
    let mut files = BTreeMap::new();
    let mut templates = BTreeMap::new();
    let mut pools = Vec::new();
    for object in objects {
        match object["kind"].as_str() {
            Some("PeonTemplate") => {
                let template: PeonTemplate = serde_json::from_value(object)?;
                templates.insert(template.name_any(), template.spec);
            }
            Some("IndexerPool") => pools.push(serde_json::from_value::<IndexerPool>(object)?),
            kind => return Err(anyhow!("{kind:?} has no argument file")),
        }
    }
    for (name, template) in &templates {
        files.insert(
            format!("peon: {name}"),
            peon(template).with_context(|| name.clone())?,
        );
    }
    for pool in &pools {
        let name = pool.name_any();
        let template = templates
            .get(&pool.spec.template_ref.name)
            .context("no template")?;
        files.insert(
            format!("indexer: {name}"),
            indexer(pool, template).with_context(|| name.clone())?,
        );
    }
    serde_json::to_writer(std::io::stdout(), &files)?;
    Ok(())
}

fn settings(template: &PeonTemplateSpec, payload: Option<&Payload>) -> Result<Settings> {
    let settings = Settings::resolve(&Levels {
        task: &PeonTaskSpec::default(),
        payload,
        template,
        operator: &RuntimeProperties::default(),
        memory_step: 0,
        ladder: &MemoryLadder::default(),
    });
    settings.map_err(|invalid| anyhow!(invalid.message))
}

fn peon(template: &PeonTemplateSpec) -> Result<String> {
    let payload = Payload::parse_inline(NOOP, "noop").map_err(|invalid| anyhow!("{invalid}"))?;
    let settings = settings(template, Some(&payload))?;
    let sizing = jvm::size(&settings).map_err(|invalid| anyhow!(invalid.message))?;
    let ports = peon_ports::of(&settings).map_err(|invalid| anyhow!(invalid.message))?;
    let broadcast_mode = payload.broadcast_mode().map_err(|message| anyhow!(message))?;
    Ok(jvm::argument_file(
        &settings,
        &sizing,
        ports,
        &payload,
        broadcast_mode,
    ))
}

fn indexer(pool: &IndexerPool, template: &PeonTemplateSpec) -> Result<String> {
    let settings = settings(template, None)?;
    let sizing = pool::decide::jvm::size(&pool.spec).map_err(|message| anyhow!(message))?;
    let ports = pool::decide::jvm::ports(&settings).map_err(|message| anyhow!(message))?;
    let grace = pool.spec.kill_grace_seconds;
    pool::decide::jvm::argument_file(&settings, &sizing, ports, grace).map_err(|message| anyhow!(message))
}
