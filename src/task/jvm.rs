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

/// Druid's `HumanReadableBytes`: digits and, in either case, `K M G T P` (powers of ten) or `Ki KiB …` (powers of two).
fn human_readable(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        "p" => 1_000_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        "pi" | "pib" => 1 << 50,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
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
    use serde_json::json;

    use super::*;
    use crate::druid::properties::RuntimeProperties;
    use crate::task::fixtures::{payload, task, template};
    use crate::task::quantity::MIB;
    use crate::task::settings::Levels;

    fn sized(task_options: &[&str], template_spec: serde_json::Value) -> Result<Sizing, InvalidSetting> {
        let druid = json!({"type": "noop"});
        let settings = Settings::resolve(&Levels {
            task: &task(json!({"task": druid, "javaOpts": task_options})).spec,
            payload: &payload(druid),
            template: &template(template_spec).spec,
            operator: &RuntimeProperties::default(),
        })?;
        size(&settings)
    }

    #[test]
    fn sizes_are_druids() {
        for (text, bytes) in [
            ("100000000", 100_000_000),
            ("500MiB", 500 << 20),
            ("500Mi", 500 << 20),
            ("500mib", 500 << 20),
            ("500m", 500_000_000),
            ("1K", 1000),
            ("1KiB", 1024),
            ("2G", 2_000_000_000),
            ("2g", 2_000_000_000),
        ] {
            assert_eq!(human_readable(text), Some(bytes), "{text}");
        }
        for bad in [
            "1.5G",
            "-1",
            "1e3",
            "B",
            "",
            "1KB",
            "1i",
            "9999999999999999P",
            "ü",
        ] {
            assert_eq!(human_readable(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_given_anywhere_is_what_the_jvm_is_sized_with() {
        let sizing = sized(
            &["-Xmx600m", "-Ddruid.processing.numThreads=2"],
            json!({
                "properties": {"druid.processing.buffer.sizeBytes": "10MiB", "druid.processing.numThreads": "9"},
                "javaOpts": ["-XX:MaxDirectMemorySize=100m"],
            }),
        )
        .unwrap();
        assert_eq!(
            (
                sizing.heap / MIB,
                sizing.direct / MIB,
                sizing.buffer / MIB,
                sizing.threads
            ),
            (600, 100, 10, 2)
        );
        let auto = json!({"properties": {"druid.processing.buffer.sizeBytes": "auto"}});
        assert_eq!(sized(&[], auto), sized(&[], json!({})));
    }

    #[test]
    fn what_cannot_be_read_names_whoever_gave_it() {
        let bad_heap = sized(&["-Xmx1.5g"], json!({})).unwrap_err();
        assert_eq!(bad_heap.source, Source::Task);
        assert!(bad_heap.message.contains("-Xmx1.5g"), "{}", bad_heap.message);
        let bad_threads = json!({"properties": {"druid.processing.numThreads": "many"}});
        let bad_threads = sized(&[], bad_threads).unwrap_err();
        assert_eq!(bad_threads.source, Source::Template);
        assert!(
            bad_threads.message.contains("numThreads is \"many\""),
            "{}",
            bad_threads.message
        );
    }

    #[test]
    fn what_does_not_fit_is_for_the_highest_level_in_play_to_change() {
        let memory = |limit: &str| json!({"resources": {"limits": {"memory": limit}}});
        let too_small = sized(&[], memory("128Mi")).unwrap_err();
        assert_eq!(too_small.source, Source::Template);
        assert!(
            too_small.message.contains("128Mi comes from the PeonTemplate"),
            "{}",
            too_small.message
        );
        let too_much = sized(&["-Xmx1g"], memory("1Gi")).unwrap_err();
        assert_eq!(too_much.source, Source::Task);
        let thousandths = sized(&[], memory("512m")).unwrap_err();
        assert!(
            thousandths.message.contains("write 512Mi"),
            "{}",
            thousandths.message
        );
    }
}
