//! The peon's command line, as an argument file for `java` (pure).

use super::peon_ports::{PeonPorts, TLS_PORT};
use super::properties_file;
use super::settings::{InvalidSetting, RESERVED, Settings, Source};
use super::sizing::{self, Given, Sizing};
use crate::druid::payload::Payload;
use crate::druid::{human_readable, java_options};
use crate::quantity;
use crate::task::run::pod::build;

/// Options that Druid needs with Java 11 and later, as set by `bin/run-java` of a Druid distribution.
pub const MODULES: [&str; 8] = [
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
];

/// Options that set the heap; a JVM's options have one of these or [`HEAP_PERCENTAGE`].
const HEAP: [&str; 2] = ["-Xmx", "-XX:MaxHeapSize="];
const HEAP_PERCENTAGE: &str = "-XX:MaxRAMPercentage=";
const INITIAL_HEAP: [&str; 3] = ["-Xms", "-XX:InitialHeapSize=", "-XX:MinHeapSize="];
const DIRECT: &str = "-XX:MaxDirectMemorySize=";
/// The largest `druid.processing.buffer.sizeBytes`.
const LARGEST_BUFFER: u64 = (1 << 31) - 1;

const BUFFER: &str = "druid.processing.buffer.sizeBytes";
const THREADS: &str = "druid.processing.numThreads";
const MERGE_BUFFERS: &str = "druid.processing.numMergeBuffers";

/// Sizes the JVM from the settings. Heap, direct memory and buffers given by the user are those of the first attempt,
/// and grow with the limit.
///
/// # Errors
/// A size that cannot be read, or the arithmetic of what does not fit.
pub fn size(settings: &Settings) -> Result<Sizing, InvalidSetting> {
    let limit = |value: &str, name: &str, source| {
        quantity::milli(value).map_err(|e| InvalidSetting {
            source,
            message: format!("{name}: {e}"),
        })
    };
    let memory = limit(&settings.memory.0, "memory", settings.memory.1)? / 1000;
    let memory = u64::try_from(memory).unwrap_or(u64::MAX);
    let mut sources = vec![settings.memory.1];
    let mut note = |given: Option<(u64, Source)>| {
        given.map(|(value, source)| {
            sources.push(source);
            value
        })
    };
    let grown = |(bytes, source)| (settings.growth.apply(bytes), source);
    let heap = match bytes(settings, &HEAP)?.map(grown) {
        None => percentage(settings, memory)?,
        given => given,
    };
    // Druid's buffers have at most 2 GiB less one byte.
    let buffer = property(settings, BUFFER)?.map(|(bytes, source)| {
        (
            settings.growth.apply(bytes).min(LARGEST_BUFFER.max(bytes)),
            source,
        )
    });
    let given = Given {
        memory,
        cpu_milli: limit(&settings.cpu.0, "cpu", settings.cpu.1)?,
        heap: note(heap),
        initial_heap: note(bytes(settings, &INITIAL_HEAP)?),
        // For a JVM 0 is the same as no value.
        direct: note(
            bytes(settings, &[DIRECT])?
                .filter(|(bytes, _)| *bytes > 0)
                .map(grown),
        ),
        buffer: note(buffer),
        threads: note(property(settings, THREADS)?),
        merge_buffers: note(property(settings, MERGE_BUFFERS)?),
        lenient: !settings.enforce,
    };
    sizing::size(&given).map_err(|arithmetic| {
        let hint = match settings.memory.0.strip_suffix('m') {
            Some(digits) => {
                format!(" (in Kubernetes {digits}m is {digits} thousandths of a byte: write {digits}Mi)")
            }
            None => String::new(),
        };
        InvalidSetting {
            // The error names the highest level among the sizes involved, which is the one to change.
            source: sources.iter().copied().max().unwrap_or(Source::BuiltIn),
            message: format!(
                "{arithmetic}; the limit {} comes from {}{hint}",
                settings.memory.0, settings.memory.1
            ),
        }
    })
}

/// The last option with one of these prefixes: prefix, value and source.
fn last<'a>(settings: &'a Settings, prefixes: &[&'a str]) -> Option<(&'a str, &'a str, Source)> {
    settings.java_opts.iter().rev().find_map(|(option, source)| {
        prefixes
            .iter()
            .find_map(|prefix| Some((*prefix, option.strip_prefix(prefix)?, *source)))
    })
}

/// A JVM memory size, in any notation.
fn bytes(settings: &Settings, prefixes: &[&str]) -> Result<Option<(u64, Source)>, InvalidSetting> {
    let Some((prefix, text, source)) = last(settings, prefixes) else {
        return Ok(None);
    };
    let size = java_options::size(text).ok_or_else(|| InvalidSetting {
        source,
        message: format!("{prefix}{text} is not a JVM memory size such as 512m or 2g"),
    })?;
    Ok(Some((size, source)))
}

/// `-XX:MaxRAMPercentage`, of the current memory limit.
fn percentage(settings: &Settings, memory: u64) -> Result<Option<(u64, Source)>, InvalidSetting> {
    let Some((prefix, text, source)) = last(settings, &[HEAP_PERCENTAGE]) else {
        return Ok(None);
    };
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let thousandths = quantity::milli(text)
        .ok()
        .filter(|t| digits && (1..=100_000).contains(t));
    let thousandths = thousandths.ok_or_else(|| InvalidSetting {
        source,
        message: format!("{prefix}{text} is not a percentage such as 75.0"),
    })?;
    let heap = u128::from(memory) * thousandths / 100_000;
    Ok(Some((u64::try_from(heap).unwrap_or(memory), source)))
}

/// A property with a number or a size.
fn property(settings: &Settings, name: &str) -> Result<Option<(u64, Source)>, InvalidSetting> {
    let prefix = format!("-D{name}=");
    let Some((_, text, source)) = last(settings, &[&prefix]) else {
        return Ok(None);
    };
    match text.trim() {
        "" => Ok(None),
        // Druid also accepts `auto` for the buffer's size, which here equals no value.
        auto if auto.eq_ignore_ascii_case("auto") => Ok(None),
        text => {
            let value = human_readable::bytes(text).ok_or_else(|| InvalidSetting {
                source,
                message: format!(
                    "{name} is {text:?}, it must be a number, or for a size also a value such as 100MiB"
                ),
            })?;
            Ok(Some((value, source)))
        }
    }
}

/// Names of the property with the place of a log4j2.xml.
pub const LOG4J: [&str; 2] = ["log4j.configurationFile", "log4j2.configurationFile"];

/// What makes Druid log to standard output: the operator's `own` log4j2.xml. Of one that the template names, which is often
/// that of all other processes and writes to files, Druid itself sends everything there, as for the peons of a
/// MiddleManager (`org.apache.druid.indexing.overlord.ForkingTaskRunner`).
#[must_use]
pub fn log4j(settings: &Settings, own: &'static str) -> (&'static str, &'static str) {
    if LOG4J.iter().any(|name| settings.property(name).is_some()) {
        (
            "log4j2.configurationFactory",
            "org.apache.druid.indexing.common.tasklogs.ConsoleLoggingEnforcementConfigurationFactory",
        )
    } else {
        (LOG4J[0], own)
    }
}

/// The argument file: all arguments of `java` except for the pod's address, which only the pod knows.
#[must_use]
pub fn argument_file(
    settings: &Settings,
    sizing: &Sizing,
    ports: PeonPorts,
    payload: &Payload,
    broadcast_mode: &str,
) -> String {
    let mut options: Vec<(String, ())> = MODULES.iter().map(|m| ((*m).to_owned(), ())).collect();
    let mut add = |option: String| options.push((option, ()));
    add(format!("-XX:ActiveProcessorCount={}", sizing.processors));
    for (name, value) in [
        ("user.timezone", "UTC"),
        ("file.encoding", "UTF-8"),
        ("java.io.tmpdir", build::TMP_DIR),
        log4j(settings, build::LOG4J_FILE),
        ("druid.service", "druid/peon"),
        // The pod has no MiddleManager that serves intermediate data.
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
    if let Some(port) = ports.tls {
        add(format!("-D{TLS_PORT}={port}"));
    }
    for option in settings.options() {
        add(option.to_owned());
    }
    // Values that the user gave for these are part of the sizing.
    add(format!("-Xmx{}", sizing.heap));
    add(format!("{DIRECT}{}", sizing.direct));
    for (name, value) in [
        (BUFFER, sizing.buffer),
        (THREADS, sizing.threads),
        (MERGE_BUFFERS, sizing.merge_buffers),
    ] {
        add(format!("-D{name}={value}"));
    }
    for (name, value) in RESERVED
        .into_iter()
        .chain(properties_file::properties(&settings.properties_file))
    {
        add(format!("-D{name}={value}"));
    }
    // Without this option a JVM out of heap may stay alive, unusable, and hold its locks for ever.
    add("-XX:+ExitOnOutOfMemoryError".to_owned());
    let options = java_options::last_of_each_kind(options);
    let command = [
        "-cp",
        &settings.class_path,
        "org.apache.druid.cli.Main",
        "internal",
        "peon",
        build::TASK_DIR,
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
    use crate::api::MemoryLadder;
    use crate::druid::properties::RuntimeProperties;
    use crate::quantity::MIB;
    use crate::task::accept::settings::Levels;
    use crate::task::fixtures::{payload, task, template};

    fn sized(task_options: &[&str], template_spec: serde_json::Value) -> Result<Sizing, InvalidSetting> {
        size(&settings_at(0, task_options, template_spec)?)
    }

    fn settings_at(
        memory_step: u32,
        task_options: &[&str],
        template_spec: serde_json::Value,
    ) -> Result<Settings, InvalidSetting> {
        let druid = json!({"type": "noop"});
        Settings::resolve(&Levels {
            task: &task(json!({"task": druid, "javaOpts": task_options})).spec,
            payload: Some(&payload(druid)),
            template: &template(template_spec).spec,
            operator: &RuntimeProperties::default(),
            memory_step,
            ladder: &MemoryLadder::default(),
        })
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
    fn a_log_configuration_of_the_template_writes_to_standard_output_too() {
        let log4j = |options: serde_json::Value| {
            let settings = settings_at(0, &[], json!({"javaOpts": options})).unwrap();
            super::log4j(&settings, "/etc/peon/log4j2.xml")
        };
        assert_eq!(
            log4j(json!([])),
            ("log4j.configurationFile", "/etc/peon/log4j2.xml")
        );
        for name in LOG4J {
            let given = log4j(json!([format!("-D{name}=/log/log4j2.xml")]));
            assert_eq!(given.0, "log4j2.configurationFactory", "{name}");
        }
    }

    #[test]
    fn a_heap_is_a_heap_however_it_is_written() {
        let memory = || json!({"resources": {"limits": {"memory": "1Gi"}}});
        let heap = |options: &[&str]| sized(options, memory()).unwrap().heap / MIB;
        assert_eq!(heap(&["-XX:MaxHeapSize=600m"]), 600);
        assert_eq!(heap(&["-XX:MaxRAMPercentage=50.0"]), 512);
        assert_eq!(heap(&["-XX:MaxRAMPercentage=50", "-Xmx300m"]), 300);
        assert_eq!(heap(&["-Xmx300m", "-XX:MaxRAMPercentage=25"]), 256);
        for too_much in ["-XX:MaxHeapSize=1g", "-XX:MaxRAMPercentage=95"] {
            let refused = sized(&[too_much], memory()).unwrap_err();
            assert_eq!(refused.source, Source::Task, "{too_much}");
            assert!(
                refused.message.contains("cannot hold the JVM"),
                "{}",
                refused.message
            );
        }
        for bad in ["0", "101", "-5", "1k", "half", ""] {
            let refused = sized(&[&format!("-XX:MaxRAMPercentage={bad}")], memory()).unwrap_err();
            assert!(
                refused.message.contains("not a percentage"),
                "{bad}: {}",
                refused.message
            );
        }
        for initial in ["-Xms900m", "-XX:InitialHeapSize=900m", "-XX:MinHeapSize=900m"] {
            let refused = sized(&[initial], memory()).unwrap_err();
            assert!(
                refused.message.contains("-Xms 900 MiB is above the heap"),
                "{}",
                refused.message
            );
        }
        assert_eq!(heap(&["-Xms100m", "-XX:MaxDirectMemorySize=0"]), heap(&[]));
    }

    #[test]
    fn what_cannot_fit_is_let_through_where_the_template_says_so() {
        let lenient = || json!({"resources": {"limits": {"memory": "1Gi"}}, "sizing": {"enforce": false}});
        assert_eq!(sized(&["-Xmx2g"], lenient()).unwrap().heap, 2048 * MIB);
        let buffers = [
            "-Ddruid.processing.buffer.sizeBytes=500MiB",
            "-XX:MaxDirectMemorySize=600m",
        ];
        assert_eq!(sized(&buffers, lenient()).unwrap().direct, 600 * MIB);
        let tiny = json!({"resources": {"limits": {"memory": "128Mi"}}, "sizing": {"enforce": false}});
        assert_eq!(sized(&[], tiny).unwrap().heap, 64 * MIB);
        assert!(
            sized(&["-Xmx1.5g"], lenient()).is_err(),
            "nobody knows what it means"
        );
    }

    #[test]
    fn more_memory_is_more_of_everything() {
        let options = [
            "-Xmx512m",
            "-XX:MaxDirectMemorySize=256m",
            "-Ddruid.processing.buffer.sizeBytes=32MiB",
            "-Ddruid.processing.numThreads=3",
        ];
        let spec = json!({"resources": {"limits": {"memory": "1Gi"}}});
        for (step, heap, direct, buffer) in [(0, 512, 256, 32), (1, 768, 384, 48), (9, 2048, 1024, 128)] {
            let settings = settings_at(step, &options, spec.clone()).unwrap();
            let sizing = size(&settings).unwrap();
            assert_eq!(
                (
                    sizing.heap / MIB,
                    sizing.direct / MIB,
                    sizing.buffer / MIB,
                    sizing.threads
                ),
                (heap, direct, buffer, 3)
            );
            let ports = super::super::peon_ports::of(&settings).unwrap();
            let file = argument_file(
                &settings,
                &sizing,
                ports,
                &payload(json!({"type": "noop"})),
                "ALL",
            );
            assert_eq!(file.matches("-Xmx").count(), 1);
            for argument in [
                format!("\"-Xmx{}\"", heap * MIB),
                format!("\"-XX:MaxDirectMemorySize={}\"", direct * MIB),
                format!("\"-Ddruid.processing.buffer.sizeBytes={}\"", buffer * MIB),
            ] {
                assert!(file.contains(&argument), "{argument} in {file}");
            }
        }
        let share = settings_at(2, &["-XX:MaxRAMPercentage=50"], spec.clone()).unwrap();
        assert_eq!(size(&share).unwrap().heap, 1152 * MIB);
        let by_default = |step| size(&settings_at(step, &[], spec.clone()).unwrap()).unwrap();
        assert!(by_default(1).heap > by_default(0).heap && by_default(1).direct > by_default(0).direct);
        let buffer = ["-Ddruid.processing.buffer.sizeBytes=1GiB"];
        let large = json!({"resources": {"limits": {"memory": "16Gi"}}});
        let capped = size(&settings_at(9, &buffer, large).unwrap()).unwrap();
        assert_eq!(capped.buffer, LARGEST_BUFFER);
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
