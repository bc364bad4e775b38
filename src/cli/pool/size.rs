//! `kubectl peon pool size`: how the memory limit of a pool is divided, and what other limits would mean.

use clap::Args;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use serde::Serialize;

use super::PoolFormat;
use crate::api::{IndexerPool, IndexerPoolSpec};
use crate::cli::outcome::Outcome;
use crate::cli::output::{self, plain};
use crate::cli::submit::documents;
use crate::cli::submit::input::Document;
use crate::pool::decide::jvm;
use crate::pool::decide::sizing::Division;
use crate::quantity::{self, MIB, mebibytes};

/// Show how the memory of the Indexers of a pool is divided, and what other memory limits would mean.
///
/// No cluster is contacted. The exit code is 3 if a pool in the file would be refused.
#[derive(Debug, Args)]
pub(super) struct Size {
    /// File with IndexerPools (YAML or JSON); `-` is standard input.
    #[arg(short, long, value_name = "FILE")]
    filename: String,

    /// Memory limits to compare with, as Kubernetes quantities. Default: half, twice and four times the pool's.
    #[arg(long, value_name = "LIMIT", value_delimiter = ',')]
    memory: Vec<String>,

    /// Print the same as data in this format.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<PoolFormat>,
}

/// What one memory limit means for a pool. In bytes, unless stated otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// The limit as a quantity.
    memory: String,
    /// Whether it is the limit in the file.
    given: bool,
    heap: u64,
    direct: u64,
    everything_else: u64,
    buffer_size_bytes: u64,
    buffers: u64,
    task_bytes: u64,
    /// Heap that an Indexer and its task use at most.
    needed: u64,
    /// Heap that may be used.
    usable: u64,
    /// Why the limit is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// A pool with the meaning of its memory limit and of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Sizes {
    name: String,
    limits: Vec<Row>,
}

impl Size {
    /// Prints the sizes of the pools in a file.
    pub(super) fn run(&self) -> anyhow::Result<Outcome> {
        let pools = documents(&self.filename)?
            .into_iter()
            .filter_map(|document| match document {
                Document::Pool(pool) => Some(*pool),
                _ => None,
            });
        let sizes = pools.map(|pool| Sizes::of(&pool, &self.memory));
        let sizes = sizes.collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::msg)?;
        if sizes.is_empty() {
            anyhow::bail!("{} has no IndexerPool", self.filename);
        }
        let text = match self.output {
            Some(format) => output::structured(format.into(), &serde_json::json!({ "items": sizes }))?,
            None => sizes.iter().map(Sizes::text).collect::<Vec<_>>().join("\n"),
        };
        output::print(&text)?;
        let is_refused = |sizes: &Sizes| sizes.limits.iter().any(|row| row.given && row.refused.is_some());
        Ok(if sizes.iter().any(is_refused) {
            Outcome::TaskFailed
        } else {
            Outcome::Done
        })
    }
}

impl Sizes {
    /// The pool's own limit and others, in ascending order.
    fn of(pool: &IndexerPool, others: &[String]) -> Result<Self, String> {
        let name = pool.name_any();
        let own = jvm::given(&pool.spec)
            .map_err(|e| format!("IndexerPool {name}: {e}"))?
            .memory;
        let others = if others.is_empty() {
            let times = [own / 2, own.saturating_mul(2), own.saturating_mul(4)];
            times.map(in_mebibytes).to_vec()
        } else {
            others.to_vec()
        };
        let mut limits = vec![(own, Row::of(&pool.spec, None)?)];
        for other in others {
            let bytes = quantity::parse(&other).map_err(|e| format!("--memory {other}: {e}"))?;
            if bytes != own {
                limits.push((bytes, Row::of(&pool.spec, Some(&other))?));
            }
        }
        limits.sort_by_key(|(bytes, _)| *bytes);
        Ok(Self {
            name,
            limits: limits.into_iter().map(|(_, row)| row).collect(),
        })
    }

    /// For people.
    fn text(&self) -> String {
        let head = [
            "MEMORY",
            "HEAP",
            "DIRECT",
            "EVERYTHING-ELSE",
            "ROWS-OF-A-TASK",
            "HEAP-NEEDED",
            "HEAP-USABLE",
            "RESULT",
        ];
        let rows: Vec<Vec<String>> = self.limits.iter().map(Row::cells).collect();
        let refused = self.limits.iter().filter_map(|row| {
            let why = plain(row.refused.as_ref()?);
            Some(format!("\n{} would be refused: {why}\n", plain(&row.memory)))
        });
        let refused: String = refused.collect();
        let table = output::table(&head, &rows);
        format!("IndexerPool {}\n\n{table}{refused}", plain(&self.name))
    }
}

impl Row {
    /// With the limit of the pool, or with another one.
    fn of(pool: &IndexerPoolSpec, other: Option<&str>) -> Result<Self, String> {
        let mut pool = pool.clone();
        if let Some(other) = other {
            let limits = pool.resources.limits.get_or_insert_default();
            limits.insert("memory".to_owned(), Quantity(other.to_owned()));
        }
        let given = jvm::given(&pool)?;
        let division = Division::of(&given);
        let refused = division.check(&given).err().filter(|_| !given.lenient);
        let limits = pool.resources.limits.unwrap_or_default();
        Ok(Self {
            memory: limits
                .get("memory")
                .map_or_else(String::new, |memory| memory.0.clone()),
            given: other.is_none(),
            heap: division.sizing.heap,
            direct: division.sizing.direct,
            everything_else: division.rest,
            buffer_size_bytes: division.sizing.buffer,
            buffers: division.buffers,
            task_bytes: division.sizing.task_bytes,
            needed: division.used,
            usable: division.usable,
            refused,
        })
    }

    fn cells(&self) -> Vec<String> {
        let mark = if self.given { " (given)" } else { "" };
        vec![
            format!("{}{mark}", plain(&self.memory)),
            mebibytes(self.heap),
            mebibytes(self.direct),
            mebibytes(self.everything_else),
            mebibytes(self.task_bytes),
            mebibytes(self.needed),
            mebibytes(self.usable),
            if self.refused.is_some() { "refused" } else { "ok" }.to_owned(),
        ]
    }
}

/// A limit as a quantity.
fn in_mebibytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1024 * MIB) {
        format!("{}Gi", bytes / (1024 * MIB))
    } else {
        format!("{}Mi", (bytes / MIB).max(1))
    }
}

#[cfg(test)]
#[path = "size_tests.rs"]
mod tests;
