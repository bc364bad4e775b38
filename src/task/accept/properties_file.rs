//! `propertiesFrom`: Druid properties from ConfigMaps and Secrets (pure).
//!
//! The sources are mounted, and a script in the pod writes their keys into one Java properties file, in memory, since
//! it contains secrets. None of their values appears in the operator's ConfigMap, an argument, an environment variable
//! or a log. Druid reads the file named by `druid.properties.file` if its class path has no `runtime.properties`, as
//! here, and every `-D` takes precedence (`org.apache.druid.guice.PropertiesModule`).

use serde_json::{Value, json};

use crate::api::PropertiesSource;

const VOLUME: &str = "peon-properties";
const DIR: &str = "/peon-properties";
/// One directory per source, in their order.
const SOURCES: &str = "/etc/peon-properties";

/// Writes the properties in the files of the directories in `$1`: the file's name is the property's name, and its
/// content is the value, without one line break at the end. In Java's syntax a backslash begins an escape, a line break
/// ends the value, and leading white space is not part of the value.
macro_rules! write_properties {
    () => {
        r#"write_properties() {
  carriage_return=$(printf '\r')
  for property in "$1"/*/*; do
    [ -f "$property" ] || continue
    printf '%s=' "${property##*/}"
    LC_ALL=C sed -e 's/\\/\\\\/g' -e "s/$carriage_return/\\\\r/g" -e 's/^[[:space:]]/\\&/' -e '$!s/$/\\n\\/' "$property"
    echo
  done
}
"#
    };
}

/// The part of the peon's script for tasks with sources.
pub const SCRIPT: &str = concat!(
    write_properties!(),
    "(umask 077; write_properties /etc/peon-properties >/peon-properties/runtime.properties)\n"
);

fn name(number: usize) -> String {
    format!("{number:02}")
}

/// The volumes of these sources.
#[must_use]
pub fn volumes(sources: &[PropertiesSource]) -> Vec<Value> {
    if sources.is_empty() {
        return Vec::new();
    }
    let mut volumes = vec![json!({"name": VOLUME, "emptyDir": {"medium": "Memory"}})];
    for (number, source) in sources.iter().enumerate() {
        let mut volume = json!({"name": format!("{VOLUME}-{}", name(number))});
        if let Some(from) = &source.config_map_ref {
            volume["configMap"] = json!({"name": from.name, "optional": from.optional, "defaultMode": 0o444});
        } else if let Some(from) = &source.secret_ref {
            volume["secret"] =
                json!({"secretName": from.name, "optional": from.optional, "defaultMode": 0o444});
        }
        volumes.push(volume);
    }
    volumes
}

/// Where the sources are mounted in the peon's container. No other container has them.
#[must_use]
pub fn mounts(sources: &[PropertiesSource]) -> Vec<Value> {
    if sources.is_empty() {
        return Vec::new();
    }
    let mut mounts = vec![json!({"name": VOLUME, "mountPath": DIR})];
    mounts.extend((0..sources.len()).map(|number| {
        let number = name(number);
        json!({"name": format!("{VOLUME}-{number}"), "mountPath": format!("{SOURCES}/{number}"), "readOnly": true})
    }));
    mounts
}

/// The properties by which Druid finds the file, and does not log its content. Users cannot set them to other values.
#[must_use]
pub fn properties(sources: &[PropertiesSource]) -> Vec<(&'static str, &'static str)> {
    let mut properties = Vec::new();
    if !sources.is_empty() {
        properties.push(("druid.properties.file", "/peon-properties/runtime.properties"));
    }
    if sources.iter().any(|source| source.secret_ref.is_some()) {
        // Druid would mask only names with "password" or "secret" in them.
        properties.push(("druid.startup.logging.logProperties", "false"));
    }
    properties
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sources() -> Vec<PropertiesSource> {
        let sources = json!([
            {"configMapRef": {"name": "common", "optional": true}}, {"secretRef": {"name": "store"}},
        ]);
        serde_json::from_value(sources).unwrap()
    }

    #[test]
    fn every_source_is_mounted_where_only_the_peon_reads_it() {
        assert_eq!(
            volumes(&sources()),
            [
                json!({"name": "peon-properties", "emptyDir": {"medium": "Memory"}}),
                json!({"name": "peon-properties-00",
                    "configMap": {"name": "common", "optional": true, "defaultMode": 292}}),
                json!({"name": "peon-properties-01",
                    "secret": {"secretName": "store", "optional": false, "defaultMode": 292}}),
            ]
        );
        assert_eq!(
            mounts(&sources()),
            [
                json!({"name": "peon-properties", "mountPath": "/peon-properties"}),
                json!({"name": "peon-properties-00", "mountPath": "/etc/peon-properties/00", "readOnly": true}),
                json!({"name": "peon-properties-01", "mountPath": "/etc/peon-properties/01", "readOnly": true}),
            ]
        );
        assert!(SCRIPT.contains(&format!("write_properties {SOURCES} >{DIR}/runtime.properties")));
        assert_eq!(
            (volumes(&[]), mounts(&[]), properties(&[])),
            (vec![], vec![], vec![])
        );
    }

    #[test]
    fn druid_does_not_log_what_comes_from_secrets() {
        let names = |sources: &[PropertiesSource]| -> Vec<_> {
            properties(sources).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(&sources()[..1]), ["druid.properties.file"]);
        assert_eq!(names(&sources())[1], "druid.startup.logging.logProperties");
    }

    /// What the script writes of these files, in directories one after the other.
    fn script(test: &str, directories: &[&[(&str, &[u8])]]) -> Vec<u8> {
        let dir = std::env::temp_dir().join(format!("peon-properties-{test}-{}", std::process::id()));
        for (number, files) in directories.iter().enumerate() {
            let at = dir.join(name(number));
            std::fs::create_dir_all(&at).unwrap();
            for (name, content) in *files {
                std::fs::write(at.join(name), content).unwrap();
            }
        }
        let script = format!(
            "set -eu\n{}write_properties '{}'",
            write_properties!(),
            dir.display()
        );
        let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
        output.stdout
    }

    #[test]
    fn what_java_reads_is_what_was_given() {
        let values: [(&str, &[u8], &str); 12] = [
            ("plain", b"value", "value"),
            ("empty", b"", ""),
            ("line-break", b"value\n", "value"),
            ("lines", b"one\n two\n\n#three", "one\n two\n\n#three"),
            ("last-lines", b"one\n\n", "one\n"),
            ("space", b"  value ", "  value "),
            ("tab", b"\tvalue", "\tvalue"),
            ("backslash", b"a\\b\\\\c\\", "a\\b\\\\c\\"),
            ("escapes", b"\\n\\u0041\\\n", "\\n\\u0041\\"),
            ("windows", b"a\r\nb\r", "a\r\nb\r"),
            ("marks", b"=a:b #c !d", "=a:b #c !d"),
            (
                "shell",
                b"$HOME `id` 'q' \"d\" %s & / * \\1",
                "$HOME `id` 'q' \"d\" %s & / * \\1",
            ),
        ];
        let files: Vec<_> = values
            .iter()
            .map(|(name, content, _)| (*name, *content))
            .collect();
        let read = java_properties::read(script("values", &[&files]).as_slice()).unwrap();
        assert_eq!(read.len(), values.len(), "{read:?}");
        for (name, _, expected) in values {
            assert_eq!(read.get(name).map(String::as_str), Some(expected), "{name}");
        }
    }

    #[test]
    fn later_sources_come_later_and_bytes_stay() {
        let written = script(
            "order",
            &[&[("a", "ü".as_bytes()), ("b", b"1")], &[], &[("b", b"2")]],
        );
        assert_eq!(String::from_utf8(written).unwrap(), "a=ü\nb=1\nb=2\n");
        assert_eq!(script("none", &[&[]]), b"");
    }
}
