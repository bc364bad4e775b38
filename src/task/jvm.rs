//! The peon's command line, as an argument file for `java` (pure).

use super::pod;
use super::quantity;
use super::settings::{InvalidSetting, RESERVED, Settings, Source};
use super::sizing::{self, Given, Sizing};
use crate::druid::java_options;
use crate::druid::payload::Payload;

/// What Druid needs of Java 11 and later; `bin/run-java` of a Druid distribution adds the same.
const MODULES: [&str; 8] = [
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
];

const BUFFER: &str = "druid.processing.buffer.sizeBytes";
const THREADS: &str = "druid.processing.numThreads";
const MERGE_BUFFERS: &str = "druid.processing.numMergeBuffers";

/// Sizes the JVM from the settings.
///
/// # Errors
/// A size that cannot be read, or the arithmetic of what does not fit.
pub fn size(settings: &Settings) -> Result<Sizing, InvalidSetting> {
    let source = |prefix: &str| {
        settings
            .java_opts
            .iter()
            .rev()
            .find(|(o, _)| o.starts_with(prefix))
            .map_or(settings.memory.1, |(_, s)| *s)
    };
    let option = |prefix: &str| match java_options::value(settings.options(), prefix) {
        None => Ok(None),
        Some(text) => java_options::size(text).map(Some).ok_or_else(|| InvalidSetting {
            source: source(prefix),
            message: format!("{prefix}{text} is no JVM memory size such as 512m or 2g"),
        }),
    };
    let property = |name: &str| match settings.property(name).map(str::trim) {
        None | Some("") => Ok(None),
        // Druid also takes `auto` for the buffer's size, which is the same as none here.
        Some(auto) if auto.eq_ignore_ascii_case("auto") => Ok(None),
        Some(text) => human_readable(text).map(Some).ok_or_else(|| InvalidSetting {
            source: source(&format!("-D{name}=")),
            message: format!("{name} is {text:?}, it must be a number, for sizes also one such as 100MiB"),
        }),
    };
    let heap = option("-Xmx")?;
    let direct = option("-XX:MaxDirectMemorySize=")?;
    let limit = |value: &str, name: &str, source| {
        quantity::milli(value).map_err(|e| InvalidSetting {
            source,
            message: format!("{name}: {e}"),
        })
    };
    let memory = limit(&settings.memory.0, "memory", settings.memory.1)? / 1000;
    let given = Given {
        memory: u64::try_from(memory).unwrap_or(u64::MAX),
        cpu_milli: limit(&settings.cpu.0, "cpu", settings.cpu.1)?,
        heap,
        direct,
        buffer: property(BUFFER)?,
        threads: property(THREADS)?,
        merge_buffers: property(MERGE_BUFFERS)?,
    };
    sizing::size(&given).map_err(|arithmetic| {
        let hint = match settings.memory.0.strip_suffix('m') {
            Some(digits) => {
                format!(" (in Kubernetes {digits}m is {digits} thousandths of a byte: write {digits}Mi)")
            }
            None => String::new(),
        };
        // Whoever gave the highest of the sizes in play is the one to change it.
        let sources = [settings.memory.1]
            .into_iter()
            .chain(heap.map(|_| source("-Xmx")));
        let source = sources
            .chain(direct.map(|_| source("-XX:MaxDirectMemorySize=")))
            .max();
        InvalidSetting {
            source: source.unwrap_or(Source::BuiltIn),
            message: format!(
                "{arithmetic}; the limit {} comes from {}{hint}",
                settings.memory.0, settings.memory.1
            ),
        }
    })
}

/// Druid's `HumanReadableBytes`: digits, or digits with `K M G T P` (powers of ten) or `Ki KiB …` (powers of two).
fn human_readable(text: &str) -> Option<u64> {
    let text = text
        .strip_suffix('B')
        .filter(|t| t.ends_with('i'))
        .unwrap_or(text);
    let text = text.replace('K', "k").replace("ki", "Ki");
    if text.contains('.') || text.ends_with('m') || text.contains(['e', 'n', 'u']) {
        return None;
    }
    quantity::parse(&text).ok()
}

/// The argument file: everything after `java` but the pod's address, which only the pod knows.
#[must_use]
pub fn argument_file(
    settings: &Settings,
    sizing: &Sizing,
    payload: &Payload,
    broadcast_mode: &str,
) -> String {
    let mut options: Vec<(String, ())> = MODULES.iter().map(|m| ((*m).to_owned(), ())).collect();
    let mut add = |option: String| options.push((option, ()));
    add(format!("-Xmx{}", sizing.heap));
    add(format!("-XX:MaxDirectMemorySize={}", sizing.direct));
    add(format!("-XX:ActiveProcessorCount={}", sizing.processors));
    for (name, value) in [
        ("user.timezone", "UTC"),
        ("file.encoding", "UTF-8"),
        ("java.io.tmpdir", pod::TMP_DIR),
        ("log4j.configurationFile", pod::LOG4J_FILE),
        ("druid.service", "druid/peon"),
        // No MiddleManager stands beside the pod to serve intermediate data.
        ("druid.processing.intermediaryData.storage.type", "deepstore"),
        ("druid.metrics.emitter.dimension.taskId", &payload.id),
        ("druid.metrics.emitter.dimension.taskType", &payload.type_),
        (
            "druid.metrics.emitter.dimension.dataSource",
            payload.data_source.as_deref().unwrap_or_default(),
        ),
    ] {
        if !value.is_empty() {
            add(format!("-D{name}={value}"));
        }
    }
    for (name, value) in [
        (BUFFER, sizing.buffer),
        (THREADS, sizing.threads),
        (MERGE_BUFFERS, sizing.merge_buffers),
    ] {
        add(format!("-D{name}={value}"));
    }
    for option in settings.options() {
        add(option.to_owned());
    }
    for (name, value) in RESERVED {
        add(format!("-D{name}={value}"));
    }
    // Without this a JVM out of heap may live on, broken, and hold its locks for ever.
    add("-XX:+ExitOnOutOfMemoryError".to_owned());
    let options = java_options::last_of_each_kind(options);
    let command = [
        "-cp",
        pod::CLASS_PATH,
        "org.apache.druid.cli.Main",
        "internal",
        "peon",
        pod::TASK_DIR,
        "1",
        "--loadBroadcastDatasourceMode",
        broadcast_mode,
    ];
    java_options::argument_file(options.iter().map(|(o, ())| o.as_str()).chain(command))
}

#[cfg(test)]
mod tests {
    use super::human_readable;

    #[test]
    fn sizes_are_druids() {
        assert_eq!(human_readable("100000000"), Some(100_000_000));
        assert_eq!(human_readable("500MiB"), Some(500 << 20));
        assert_eq!(human_readable("500Mi"), Some(500 << 20));
        assert_eq!(human_readable("1K"), Some(1000));
        assert_eq!(human_readable("1KiB"), Some(1024));
        assert_eq!(human_readable("2G"), Some(2_000_000_000));
        for bad in ["1.5G", "500m", "-1", "1e3", "B", ""] {
            assert_eq!(human_readable(bad), None, "{bad}");
        }
    }
}
