//! One step on an archive of logs, for the end-to-end cases: `archive FILE STEP …`, where FILE holds the lines of an
//! overlord's `runtime.properties`. What is written is read from standard input.
//!
//! Not a part of the product: it is in no image. The cases run the code that the operator has, as a program, and look
//! with other clients at what it did.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand};
use futures::TryStreamExt;
use jiff::Timestamp;
use peon_operator::logs::format::claim::{Claim, Claimant};
use peon_operator::logs::format::layout::InvalidKey;
use peon_operator::logs::format::location::Location;
use peon_operator::logs::format::parts::{Composed, LogRange, PartName, Piece};
use peon_operator::logs::store::archive::Archive;
use peon_operator::logs::store::client::Identity;
use peon_operator::logs::store::task_archive::TaskArchive;

#[derive(Parser)]
struct Cli {
    properties: PathBuf,
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    /// Writes a part of a log.
    Part {
        #[command(flatten)]
        task: Task,
        attempt: u32,
        sequence: u32,
        cursor: String,
    },
    /// Lists the parts.
    Parts {
        #[command(flatten)]
        task: Task,
    },
    /// Composes a log of standard input and all parts.
    Compose {
        #[command(flatten)]
        task: Task,
    },
    /// Writes the report.
    Report {
        #[command(flatten)]
        task: Task,
    },
    /// Prints the report.
    ReadReport {
        #[command(flatten)]
        task: Task,
    },
    /// Prints the log, or from an offset on, or its last bytes.
    ReadLog {
        #[command(flatten)]
        task: Task,
        #[arg(long)]
        from: Option<u64>,
        #[arg(long)]
        last: Option<u64>,
    },
    /// Removes what is left beside log and report.
    Forget {
        #[command(flatten)]
        task: Task,
    },
    /// Writes log and report of many tasks, each from a part, and reads the log.
    Each { ids: Vec<String> },
    /// Says where the log is.
    Url {
        #[command(flatten)]
        task: Task,
    },
    /// Puts a finished task into the history.
    History {
        namespace: String,
        completed: Timestamp,
        uid: String,
    },
    /// Prints the history of a namespace, newest first.
    ListHistory {
        namespace: String,
        since: Timestamp,
        limit: usize,
    },
}

#[derive(clap::Args)]
struct Task {
    id: String,
    uid: String,
    /// For a task of this namespace, `ns` where none is given, the keys of the id are claimed.
    #[arg(long, default_value = "ns")]
    namespace: String,
    /// An earlier task of the namespace that has the keys has ended.
    #[arg(long)]
    later: bool,
}

fn claimed(archive: &Archive, task: &Task) -> Result<TaskArchive, InvalidKey> {
    let claimant = Claimant {
        namespace: task.namespace.clone(),
        name: task.uid.clone(),
        uid: task.uid.clone(),
        created: task.later.then_some(Timestamp::UNIX_EPOCH),
    };
    archive.of_claimant(&task.id, claimant)
}

/// As if every task had ended.
fn ended(_: Claim) -> futures::future::BoxFuture<'static, bool> {
    Box::pin(std::future::ready(true))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let file = std::fs::File::open(&cli.properties)?;
    let properties = java_properties::read(file)?.into_iter().collect();
    let location = Location::from_properties(&properties)?.context("nothing is archived")?;
    let archive = Archive::open(location, Identity::Explicit)?;
    let of = |task: &Task| claimed(&archive, task);
    match &cli.step {
        Step::Part {
            task,
            attempt,
            sequence,
            cursor,
        } => {
            let name = PartName::new(*attempt, *sequence, cursor)?;
            of(task)?.put_part(&name, input()?.into()).await?;
        }
        Step::Parts { task } => {
            for part in of(task)?.parts().await? {
                println!("{} {}", part.name, part.bytes);
            }
        }
        Step::Compose { task } => println!("{}", compose(&of(task)?).await?),
        Step::Report { task } => {
            let task = of(task)?;
            task.put_report(input()?.into(), &task.place(&ended).await?)
                .await?;
        }
        Step::ReadReport { task } => output(&of(task)?.read_report().await?.context("no report")?)?,
        Step::ReadLog { task, from, last } => {
            let range = from.map(LogRange::From).or(last.map(LogRange::Last));
            let log = of(task)?.read_log(range.unwrap_or(LogRange::All)).await?;
            let mut bytes = log.context("no log")?.bytes;
            while let Some(some) = bytes.try_next().await? {
                output(&some)?;
            }
        }
        Step::Forget { task } => of(task)?.forget().await?,
        Step::Each { ids } => {
            for id in ids {
                each(&archive, id).await.with_context(|| format!("{id:?}"))?;
            }
        }
        Step::Url { task } => println!("{}", of(task)?.log_url()),
        Step::History {
            namespace,
            completed,
            uid,
        } => {
            let json = input()?.into();
            archive.put_history(namespace, *completed, uid, json).await?;
        }
        Step::ListHistory {
            namespace,
            since,
            limit,
        } => {
            for entry in archive.list_history(namespace, *since, *limit).await? {
                let json = archive.read_history(&entry).await?.unwrap_or_default();
                println!(
                    "{} {} {}",
                    entry.completed,
                    entry.uid,
                    String::from_utf8_lossy(&json)
                );
            }
        }
    }
    Ok(())
}

async fn compose(task: &TaskArchive) -> anyhow::Result<String> {
    let parts = task.parts().await?.into_iter().map(|part| Piece::Part(part.name));
    let pieces: Vec<_> = std::iter::once(Piece::Text(input()?.into()))
        .chain(parts)
        .collect();
    Ok(match task.compose(&pieces, &task.place(&ended).await?).await? {
        Composed::Written(bytes) => format!("written {bytes}"),
        Composed::Before(bytes) => format!("before {bytes}"),
        Composed::Nothing => "nothing".to_owned(),
    })
}

async fn each(archive: &Archive, id: &str) -> anyhow::Result<()> {
    let task = Task {
        id: id.to_owned(),
        uid: "each".to_owned(),
        namespace: "ns".to_owned(),
        later: false,
    };
    let task = claimed(archive, &task)?;
    let place = task.place(&ended).await?;
    let part = PartName::new(1, 0, "c")?;
    task.put_part(&part, id.to_owned().into()).await?;
    let pieces = [Piece::Text("log of ".into()), Piece::Part(part)];
    let Composed::Written(bytes) = task.compose(&pieces, &place).await? else {
        bail!("not written");
    };
    task.put_report(format!("report of {id}").into(), &place).await?;
    task.forget().await?;
    let log = task.read_log(LogRange::From(7)).await?.context("no log")?;
    let read = log.bytes.try_collect::<Vec<_>>().await?.concat();
    ensure!(read == id.as_bytes() && log.size == bytes, "read {read:?}");
    Ok(())
}

fn input() -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn output(bytes: &[u8]) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(bytes)?)
}
