//! Announces workers in ZooKeeper, for the end-to-end cases: `announce HOSTS …`. It is told what to do on standard input,
//! a line each, and says on standard output how things stand, an object of JSON on a line, whenever that changes; what
//! it read last is in `read`. When its input ends it withdraws everything and ends.
//!
//! Not a part of the product: it is in no image. The cases run the code that the virtual MiddleManager has, as a program
//! that can be killed and frozen.

use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use peon_operator::druid::discovery::Worker;
use peon_operator::druid_http::credentials::Credentials;
use peon_operator::middle_manager::discovery::announce::{Announcer, Presence, States, this_process};
use peon_operator::middle_manager::discovery::zookeeper::reader::Reader;
use peon_operator::middle_manager::discovery::zookeeper::{Settings, ZooKeeper};
use peon_operator::middle_manager::registry::identity::Ordinal;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;

#[derive(Parser)]
struct Cli {
    /// Hosts and ports of ZooKeeper.
    hosts: String,
    /// Name of this process.
    #[arg(long)]
    name: String,
    /// Where Druid is in ZooKeeper.
    #[arg(long, default_value = "druid")]
    base: String,
    /// After which a silent session ends.
    #[arg(long, default_value_t = 30_000)]
    session_ms: u64,
    /// User and password with a colon between them.
    #[arg(long)]
    digest: Option<String>,
}

#[derive(Parser)]
#[command(multicall = true)]
struct Line {
    #[command(subcommand)]
    order: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Announces an identity, or announces it anew.
    Announce {
        identity: u16,
        host: String,
        port: u16,
        capacity: u32,
    },
    /// Withdraws an identity.
    Withdraw { identity: u16 },
    /// Reads the announcement of an Indexer.
    Read { address: String },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let credentials = cli.digest.as_deref().map(|digest| {
        let (username, password) = digest.split_once(':').context("--digest user:password")?;
        anyhow::Ok(Credentials::new(username, password)?)
    });
    let settings = Settings {
        hosts: cli.hosts,
        base_path: cli.base,
        session_timeout: Duration::from_millis(cli.session_ms),
        credentials: credentials.transpose()?,
    };
    let zookeeper = ZooKeeper::new(&settings, this_process(&cli.name))?;
    let reader = zookeeper.reader();
    let announcer = Announcer::start(zookeeper);
    let mut states = announcer.states();
    let (said, mut read) = watch::channel(Value::Null);
    let telling = tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = states.changed() => if changed.is_err() {
                    return;
                },
                Ok(()) = read.changed() => {}
            }
            println!("{}", told(&states.borrow_and_update(), &read.borrow_and_update()));
        }
    });
    // Reading blocks, and so does the end of the runtime while it is read; the input ends first.
    let announcer = tokio::task::spawn_blocking(move || obey(announcer, &reader, &said)).await??;
    announcer.stop().await?;
    telling.await?;
    Ok(())
}

fn obey(announcer: Announcer, reader: &Reader, said: &watch::Sender<Value>) -> anyhow::Result<Announcer> {
    for line in std::io::stdin().lines() {
        match Line::try_parse_from(line?.split_whitespace())?.order {
            Order::Announce {
                identity,
                host,
                port,
                capacity,
            } => announcer.announce(
                Ordinal(identity),
                Worker {
                    host,
                    port,
                    tls: false,
                    ip: "10.0.0.5".to_owned(),
                    capacity,
                    category: "_default_worker_category".to_owned(),
                    version: "0".to_owned(),
                },
            ),
            Order::Withdraw { identity } => announcer.withdraw(&Ordinal(identity)),
            Order::Read { address } => {
                let read = match Handle::current().block_on(reader.indexer(&address)) {
                    Ok(read) => {
                        let text = read.map(|data| String::from_utf8_lossy(&data).into_owned());
                        json!({"announcement": text})
                    }
                    Err(error) => json!({"error": error.to_string()}),
                };
                said.send_replace(read);
            }
        }
    }
    Ok(announcer)
}

fn told(states: &States, read: &Value) -> Value {
    let each = states.iter().map(|(identity, state)| {
        let (presence, by) = match &state.presence {
            Presence::Absent => ("absent", None),
            Presence::Announced => ("announced", None),
            Presence::Superseded { by } => ("superseded", Some(by)),
        };
        let state = json!({"presence": presence, "by": by, "error": state.error});
        (identity.0.to_string(), state)
    });
    let read = [("read".to_owned(), read.clone())];
    Value::Object(each.chain(read).collect::<Map<_, _>>())
}
