//! The command line of an Indexer, as an argument file for `java` (pure).

use serde_json::Value;

use super::sizing::{self, Given, Sizing};
use crate::api::IndexerPoolSpec;
use crate::api::indexer_pool::PoolSizing;
use crate::druid::indexer_ports::{INDEXER_PORT, INDEXER_TLS_PORT, IndexerPorts};
use crate::druid::java_options;
use crate::quantity;
use crate::task::accept::jvm::{MODULES, log4j};
use crate::task::accept::peon_ports::{Enabled, TLS_PORT};
use crate::task::accept::properties_file;
use crate::task::accept::settings::{RESERVED, Settings};
use crate::task::run::pod::build::{BASE_TASK_DIR, TMP_DIR};

/// Where the script of the pod writes the logging configuration.
pub const LOG4J_FILE: &str = "/peon/log4j2.xml";
/// Names of Guice modules that a process of Druid does not load, as a JSON array.
const EXCLUDED_MODULES: &str = "druid.modules.excludeList";
/// The module that lists the services in the announcement of an Indexer, and does nothing else. Without these services
/// an overlord takes no notice of the Indexer (`org.apache.druid.cli.CliIndexer`, `HttpRemoteTaskRunner`).
const ANNOUNCING_MODULE: &str = "org.apache.druid.guice.IndexerServiceModule";

/// Kinds of options that the pool's own memory decides on: those of the template are for its peons.
const SIZES: [&str; 9] = [
    "-Xmx",
    "-Xms",
    "-Xmn",
    "-XX:MaxDirectMemorySize",
    "-XX:MinHeapSize",
    "-XX:ActiveProcessorCount",
    "-Ddruid.processing.buffer.sizeBytes",
    "-Ddruid.processing.numThreads",
    "-Ddruid.processing.numMergeBuffers",
];

/// Sizes the JVM of a pool.
///
/// # Errors
/// A quantity that cannot be read, or the arithmetic of what does not fit.
pub fn size(pool: &IndexerPoolSpec) -> Result<Sizing, String> {
    sizing::size(&given(pool)?)
}

/// What the spec of a pool says about the sizes of its JVM.
///
/// # Errors
/// A quantity that cannot be read, or no memory limit.
pub fn given(pool: &IndexerPoolSpec) -> Result<Given, String> {
    let limits = pool.resources.limits.clone().unwrap_or_default();
    let of = |name: &str| limits.get(name).map(|q| q.0.as_str());
    let Some(memory) = of("memory") else {
        return Err("resources.limits.memory is not set: the JVM is sized from it".to_owned());
    };
    let milli = |name: &str, text: &str| quantity::milli(text).map_err(|e| format!("{name}: {e}"));
    let bytes = |name: &str, text: &str| {
        milli(name, text).map(|milli| u64::try_from(milli / 1000).unwrap_or(u64::MAX))
    };
    let none = PoolSizing::default();
    let slots = pool.shared_slots();
    let given = pool.sizing.as_ref().unwrap_or(&none);
    let optional =
        |name: &str, quantity: &Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
            let text = quantity.as_ref().map(|q| q.0.as_str());
            text.map(|text| bytes(name, text)).transpose()
        };
    Ok(Given {
        memory: bytes("resources.limits.memory", memory)?,
        cpu_milli: milli("resources.limits.cpu", of("cpu").unwrap_or("1"))?,
        heap: optional("sizing.heap", &given.heap)?,
        direct: optional("sizing.direct", &given.direct)?,
        buffer: optional("sizing.bufferSizeBytes", &given.buffer_size_bytes)?,
        threads: given.num_threads.map(u64::from),
        merge_buffers: given.num_merge_buffers.map(u64::from),
        task_bytes: optional("sizing.taskBytes", &given.task_bytes)?,
        merges: given.num_concurrent_merges.map(u64::from),
        lookups: optional("sizing.lookups", &given.lookups)?.unwrap_or_default(),
        heavy: slots.map_or(1, |slots| slots.heavy.into()),
        light: slots.map_or(0, |slots| slots.light.into()),
        lenient: given.enforce == Some(false),
    })
}

/// The ports that the template's properties enable, as Druid reads them: one without TLS by default, and none with TLS.
/// What comes from `propertiesFrom` or from files of the image cannot be seen here.
///
/// # Errors
/// A property that is no boolean, no port at all, or a port with TLS that wants a certificate of its clients.
pub fn ports(settings: &Settings) -> Result<IndexerPorts, String> {
    let enabled = Enabled::of(settings).map_err(|invalid| invalid.message)?;
    let ports = IndexerPorts::of(enabled.plain, enabled.tls).ok_or(
        "druid.enablePlaintextPort is false and druid.enableTlsPort is not true: an Indexer has no port then",
    )?;
    if enabled.wants_certificate && ports.tls().is_some() {
        return Err(
            "druid.server.https.requireClientCertificate is true, and the operator has no certificate of its own: \
             remove it, or use another template"
                .to_owned(),
        );
    }
    Ok(ports)
}

/// The argument file: all arguments of `java` except for the pod's address, which only the pod knows.
///
/// # Errors
/// A property of the template that an Indexer of a pool cannot have.
pub fn argument_file(
    settings: &Settings,
    sizing: &Sizing,
    ports: IndexerPorts,
    kill_grace_seconds: u32,
) -> Result<String, String> {
    let own = own_properties(settings, sizing, ports, kill_grace_seconds)?;
    for (name, value) in &own {
        // What the template says of sizes and ports, `druid.tlsPort` too, is for its peons. The others were checked when the settings were
        // resolved.
        let is_reserved = RESERVED.iter().any(|(reserved, _)| reserved == name);
        if name == EXCLUDED_MODULES || name == TLS_PORT || is_reserved || is_size(&format!("-D{name}=")) {
            continue;
        }
        if let Some(given) = settings.property(name).filter(|given| given != value) {
            return Err(format!(
                "{name} is set by the operator to {value} for the Indexers of a pool: remove {name}={given}, or use \
                 another template"
            ));
        }
    }
    let mut options: Vec<(String, ())> = Vec::new();
    let mut add = |option: String| options.push((option, ()));
    for option in MODULES {
        add(option.to_owned());
    }
    let http_threads = sizing.http_threads().to_string();
    for (name, value) in [
        ("user.timezone", "UTC"),
        ("file.encoding", "UTF-8"),
        ("java.io.tmpdir", TMP_DIR),
        log4j(settings, LOG4J_FILE),
        ("druid.service", "druid/indexer"),
        ("druid.server.http.numThreads", &http_threads),
    ] {
        add(format!("-D{name}={value}"));
    }
    for option in settings.options().filter(|option| !is_size(option)) {
        add(option.to_owned());
    }
    add(format!("-XX:ActiveProcessorCount={}", sizing.processors));
    add(format!("-Xmx{}", sizing.heap));
    add(format!("-XX:MaxDirectMemorySize={}", sizing.direct));
    for (name, value) in own {
        add(format!("-D{name}={value}"));
    }
    for (name, value) in properties_file::properties(&settings.properties_file) {
        add(format!("-D{name}={value}"));
    }
    // Without this option a JVM out of heap may stay alive, unusable.
    add("-XX:+ExitOnOutOfMemoryError".to_owned());
    let options = java_options::last_of_each_kind(options);
    let command = [
        "-cp",
        &settings.class_path,
        "org.apache.druid.cli.Main",
        "server",
        "indexer",
    ];
    Ok(java_options::argument_file(
        options.iter().map(|(o, ())| o.as_str()).chain(command),
    ))
}

/// Whether an option is one of [`SIZES`].
fn is_size(option: &str) -> bool {
    java_options::kind(option).is_some_and(|kind| SIZES.contains(&kind.as_str()))
}

/// Properties that a template cannot change.
fn own_properties(
    settings: &Settings,
    sizing: &Sizing,
    ports: IndexerPorts,
    kill_grace_seconds: u32,
) -> Result<Vec<(String, String)>, String> {
    let excluded = excluded_modules(settings.property(EXCLUDED_MODULES))?;
    let own = [
        (EXCLUDED_MODULES, excluded),
        ("druid.plaintextPort", INDEXER_PORT.to_string()),
        ("druid.worker.capacity", sizing.capacity.to_string()),
        ("druid.worker.numConcurrentMerges", sizing.merges.to_string()),
        (
            "druid.worker.globalIngestionHeapLimitBytes",
            sizing.ingestion_heap().to_string(),
        ),
        ("druid.processing.buffer.sizeBytes", sizing.buffer.to_string()),
        ("druid.processing.numThreads", sizing.threads.to_string()),
        (
            "druid.processing.numMergeBuffers",
            sizing.merge_buffers.to_string(),
        ),
        // There is no MiddleManager that serves intermediate data, and an Indexer may be gone before it is fetched.
        (
            "druid.processing.intermediaryData.storage.type",
            "deepstore".to_owned(),
        ),
        ("druid.indexer.task.baseTaskDir", BASE_TASK_DIR.to_owned()),
        // A JVM that ended is never started again.
        ("druid.indexer.task.restoreTasksOnRestart", "false".to_owned()),
        ("druid.indexer.task.encapsulatedTask", "false".to_owned()),
        (
            "druid.indexer.task.gracefulShutdownTimeout",
            format!("PT{kill_grace_seconds}S"),
        ),
    ];
    let tls_port = ports.tls().map(|_| (TLS_PORT, INDEXER_TLS_PORT.to_string()));
    let own = own.into_iter().chain(tls_port);
    Ok(own.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The list of excluded modules with the one that would announce the Indexer: a template's own list is kept.
fn excluded_modules(given: Option<&str>) -> Result<String, String> {
    let mut list: Vec<String> = match given.map(str::trim).filter(|text| !text.is_empty()) {
        None => Vec::new(),
        Some(text) => serde_json::from_str(text).map_err(|e| {
            format!("{EXCLUDED_MODULES} is {text:?}, it must be a JSON array of strings ({e})")
        })?,
    };
    if !list.iter().any(|module| module == ANNOUNCING_MODULE) {
        list.push(ANNOUNCING_MODULE.to_owned());
    }
    Ok(Value::from(list).to_string())
}

#[cfg(test)]
#[path = "jvm_tests.rs"]
mod tests;
