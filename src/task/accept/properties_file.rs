//! Druid properties that the operator does not read: those of ConfigMaps and Secrets (`propertiesFrom`), and `druid_*`
//! variables with values of the cluster (pure).
//!
//! The sources are mounted, and a script in the pod writes their keys into one Java properties file, in memory, since
//! it contains secrets. None of their values appears in the operator's ConfigMap, an argument, an environment variable
//! of the operator's or a log. Druid reads the file named by `druid.properties.file` if its class path has no
//! `runtime.properties`, as here, and every `-D` takes precedence (`org.apache.druid.guice.PropertiesModule`).
//!
//! | key | effect |
//! |---|---|
//! | `*.properties` | a whole file: its lines are taken as they are |
//! | `jvm.config`, `main.config` | the pod is refused: the operator sizes the JVM |
//! | another file (`*.xml`, `*.json`, `*.sh`, `*.yaml`, `*.yml`) that no property of Druid is called by | a warning in the log |
//! | any other | a property |
//!
//! What the operator sets itself, and what is about other processes (`druid.worker.*`), is named in the log.
//!
//! A line `druid.indexer.fork.property.<name>`, as in the file of a MiddleManager, is the property `<name>`, and takes
//! precedence over one of that name. JVM options of such a file (`druid.indexer.runner.javaOpts`) are refused.

use serde_json::{Value, json};

use super::environment::Environment;
use crate::api::PropertiesSource;

const VOLUME: &str = "peon-properties";
const DIR: &str = "/peon-properties";
/// One directory per source, in their order.
const SOURCES: &str = "/etc/peon-properties";

/// Prefix of the script's message about properties that cannot be used.
pub const REFUSED: &str = "peon properties: ";

/// What the file is made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PropertiesFile {
    /// Mounted sources, later ones overriding earlier ones.
    pub sources: Vec<PropertiesSource>,
    /// The variables that the pod reads, which override the sources.
    pub environment: Environment,
}

impl PropertiesFile {
    /// Whether there is a file at all.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        !self.sources.is_empty() || self.environment.read_in_pod
    }

    /// The part of the peon's script that writes it; empty if there is none.
    #[must_use]
    pub fn script(&self) -> &'static str {
        if self.is_needed() { SCRIPT } else { "" }
    }
}

/// Functions of the script. In Java's syntax a backslash begins an escape, a line break ends the value, and leading white
/// space is not part of the value; one line break at the end of a value is dropped. `write_sources` writes the files of
/// the directories in `$1`, `write_environment` the variables, `write_forked` again what the file `$1` has for the peons
/// of a MiddleManager, whose lines may go on after a backslash.
macro_rules! functions {
    () => {
        r#"refuse_properties() {
  echo "peon properties: $1" | tee /dev/termination-log >&2
  exit 64
}
escape_value() {
  carriage_return=$(printf '\r')
  LC_ALL=C sed -e 's/\\/\\\\/g' -e "s/$carriage_return/\\\\r/g" -e 's/^[[:space:]]/\\&/' -e '$!s/$/\\n\\/' "$@"
  echo
}
write_sources() {
  for property in "$1"/*/*; do
    [ -f "$property" ] || continue
    key=${property##*/}
    case $key in
      *.properties) cat "$property"; echo; continue ;;
      druid.*) ;;
      jvm.config | main.config) refuse_properties "the key $key of propertiesFrom is a file of another process: put JVM options into javaOpts of the PeonTemplate" ;;
      *.xml | *.json | *.sh | *.yaml | *.yml) echo "peon properties: the key $key of propertiesFrom is no property and is not used: mount it with the pod template" >&2; continue ;;
    esac
    printf '%s=' "$key"
    escape_value "$property"
  done
}
write_environment() {
  env | sed -n 's/^\(druid_[A-Za-z0-9_]*\)=.*/\1/p' | while IFS= read -r variable; do
    eval "[ -n \"\${$variable+given}\" ]" || continue
    printf '%s' "$variable" | sed -e 's/__/%/g' -e 's/_/./g' -e 's/%/_/g'
    printf '='
    eval "printf '%s' \"\$$variable\"" | escape_value
  done
}
write_forked() {
  sed -n -e '/^[[:space:]]*druid\.indexer\.fork\.property\./{' -e ':more' -e '/\\$/{' -e 'N' -e 'b more' -e '}' -e 's/^[[:space:]]*druid\.indexer\.fork\.property\.//p' -e '}' "$1"
}
has_property() {
  [ -n "$(sed -n "s/^[[:space:]]*$1[[:space:]]*[=:].*/yes/p" "$2")" ]
}
check_properties() {
  for option in druid.indexer.runner.javaOpts druid.indexer.runner.javaOptsArray; do
    if has_property "$option" "$1"; then
      refuse_properties "$option of propertiesFrom is not read: put its options into javaOpts of the PeonTemplate"
    fi
  done
  for size in druid.processing.numThreads druid.processing.numMergeBuffers druid.processing.buffer.sizeBytes; do
    if has_property "$size" "$1"; then
      echo "peon properties: the operator sets $size: a value in propertiesFrom or in a variable of the cluster is not used; put it into properties of the PeonTemplate" >&2
    fi
  done
  for own in druid.host druid.plaintextPort druid.indexer.runner.type druid.indexer.task.baseTaskDir druid.indexer.task.encapsulatedTask; do
    if has_property "$own" "$1"; then
      echo "peon properties: the operator sets $own: a value in propertiesFrom or in a variable of the cluster is not used" >&2
    fi
  done
  for other in 'worker\.[A-Za-z0-9.]*' 'indexer\.queue\.[A-Za-z0-9.]*' 'indexer\.runner\.[A-Za-z0-9.]*' 'indexer\.task\.restoreTasksOnRestart' 'indexer\.task\.baseTaskDirPaths'; do
    for name in $(sed -n "s/^[[:space:]]*\(druid\.$other\)[[:space:]]*[=:].*/\1/p" "$1"); do
      [ "$name" = druid.indexer.runner.type ] || echo "peon properties: $name in propertiesFrom or in a variable of the cluster is about another process and has no effect on peons" >&2
    done
  done
}
"#
    };
}

/// The part of the peon's script. What is written behind wins.
const SCRIPT: &str = concat!(
    functions!(),
    "(umask 077; { write_sources /etc/peon-properties; write_environment; } >/peon-properties/runtime.properties\n\
     write_forked /peon-properties/runtime.properties >/peon-properties/forked\n\
     { echo; cat /peon-properties/forked; } >>/peon-properties/runtime.properties\n\
     check_properties /peon-properties/runtime.properties)\n"
);

fn name(number: usize) -> String {
    format!("{number:02}")
}

/// The volumes of these sources.
#[must_use]
pub fn volumes(file: &PropertiesFile) -> Vec<Value> {
    if !file.is_needed() {
        return Vec::new();
    }
    let mut volumes = vec![json!({"name": VOLUME, "emptyDir": {"medium": "Memory"}})];
    for (number, source) in file.sources.iter().enumerate() {
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
pub fn mounts(file: &PropertiesFile) -> Vec<Value> {
    if !file.is_needed() {
        return Vec::new();
    }
    let mut mounts = vec![json!({"name": VOLUME, "mountPath": DIR})];
    mounts.extend((0..file.sources.len()).map(|number| {
        let number = name(number);
        json!({"name": format!("{VOLUME}-{number}"), "mountPath": format!("{SOURCES}/{number}"), "readOnly": true})
    }));
    mounts
}

/// The properties by which Druid finds the file, and does not log its content. Users cannot set them to other values.
#[must_use]
pub fn properties(file: &PropertiesFile) -> Vec<(&'static str, &'static str)> {
    let mut properties = Vec::new();
    if file.is_needed() {
        properties.push(("druid.properties.file", "/peon-properties/runtime.properties"));
    }
    if file.environment.has_secret || file.sources.iter().any(|source| source.secret_ref.is_some()) {
        // Druid would mask only names with "password" or "secret" in them.
        properties.push(("druid.startup.logging.logProperties", "false"));
    }
    properties
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::task::accept::settings::RESERVED;

    fn sources() -> PropertiesFile {
        let sources = json!([
            {"configMapRef": {"name": "common", "optional": true}}, {"secretRef": {"name": "store"}},
        ]);
        PropertiesFile {
            sources: serde_json::from_value(sources).unwrap(),
            environment: Environment::default(),
        }
    }

    fn of_environment(has_secret: bool) -> PropertiesFile {
        PropertiesFile {
            sources: Vec::new(),
            environment: Environment {
                read_in_pod: true,
                has_secret,
            },
        }
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
        assert!(SCRIPT.contains(&format!("write_sources {SOURCES};")));
        assert_eq!(sources().script(), SCRIPT);
        let none = PropertiesFile::default();
        assert_eq!(
            (volumes(&none), mounts(&none), properties(&none), none.script()),
            (vec![], vec![], vec![], "")
        );
        let environment = of_environment(false);
        assert_eq!((volumes(&environment).len(), mounts(&environment).len()), (1, 1));
    }

    #[test]
    fn druid_does_not_log_what_comes_from_secrets() {
        let names = |file: &PropertiesFile| -> Vec<_> {
            properties(file).into_iter().map(|(name, _)| name).collect()
        };
        let mut config_map = sources();
        config_map.sources.truncate(1);
        for file in [config_map, of_environment(false)] {
            assert_eq!(names(&file), ["druid.properties.file"]);
        }
        for file in [sources(), of_environment(true)] {
            assert_eq!(names(&file)[1], "druid.startup.logging.logProperties");
        }
    }

    /// Files of a directory, each with its name.
    type Files<'a> = [(&'a str, &'a [u8])];

    /// Runs the script on these files, in directories one after the other, with these variables: whether it succeeds, the
    /// file that it writes, what it logs, and its termination message.
    fn run(
        test: &str,
        directories: &[&Files<'_>],
        variables: &[(&str, &str)],
    ) -> (bool, Vec<u8>, String, String) {
        let dir = std::env::temp_dir().join(format!("peon-properties-{test}-{}", std::process::id()));
        for (number, files) in directories.iter().enumerate() {
            let at = dir.join("sources").join(name(number));
            std::fs::create_dir_all(&at).unwrap();
            for (name, content) in *files {
                std::fs::write(at.join(name), content).unwrap();
            }
        }
        let mut script = format!("set -eu\n{SCRIPT}");
        for (from, to) in [
            (SOURCES, "sources"),
            (DIR, "."),
            ("/dev/termination-log", "message"),
        ] {
            script = script.replace(&format!(" {from}"), &format!(" {}", dir.join(to).display()));
            script = script.replace(&format!(">{from}"), &format!(">{}", dir.join(to).display()));
        }
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script]).envs(variables.iter().copied());
        let output = shell.output().unwrap();
        let read = |name: &str| std::fs::read(dir.join(name)).unwrap_or_default();
        let (written, message) = (read("runtime.properties"), read("message"));
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(output.stdout, b"");
        let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (
            output.status.success(),
            written,
            string(&output.stderr),
            string(&message),
        )
    }

    /// What Java reads in the file that the script writes.
    fn read(test: &str, directories: &[&Files<'_>]) -> std::collections::BTreeMap<String, String> {
        let (succeeded, written, logged, _) = run(test, directories, &[]);
        assert!(succeeded, "{logged}");
        parsed(&written)
    }

    fn parsed(written: &[u8]) -> std::collections::BTreeMap<String, String> {
        crate::druid::properties::parse(std::str::from_utf8(written).unwrap()).unwrap()
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
        let read = read("values", &[&files]);
        assert_eq!(read.len(), values.len(), "{read:?}");
        for (name, _, expected) in values {
            assert_eq!(read.get(name).map(String::as_str), Some(expected), "{name}");
        }
    }

    #[test]
    fn later_sources_win_and_bytes_stay() {
        let all = read(
            "order",
            &[&[("a", "ü".as_bytes()), ("b", b"1")], &[], &[("b", b"2")]],
        );
        assert_eq!((all["a"].as_str(), all["b"].as_str(), all.len()), ("ü", "2", 2));
        assert!(read("none", &[&[]]).is_empty());
    }

    /// As Druid's charts and other operators lay out their ConfigMaps.
    #[test]
    fn whole_files_are_read_as_files() {
        let common: &[u8] = b"# comment\ndruid.zk.service.host=zookeeper:2181\ndruid.extensions.loadList=[\"a\", \\\n  \"b\"]";
        let manager: &[u8] = "druid.worker.capacity=2\n druid.indexer.fork.property.druid.x = a\\\n   b\n\
                      druid.indexer.fork.property.druid.zk.service.host=züe:2181\n"
            .as_bytes();
        let all = read(
            "files",
            &[
                &[("common.runtime.properties", common), ("druid.y", b"z")],
                &[("runtime.properties", manager)],
            ],
        );
        assert_eq!(all["druid.zk.service.host"], "züe:2181");
        assert_eq!(all["druid.extensions.loadList"], "[\"a\", \"b\"]");
        assert_eq!((all["druid.x"].as_str(), all["druid.y"].as_str()), ("ab", "z"));
        assert_eq!(all["druid.worker.capacity"], "2");
    }

    /// As docs/migration.md says: the whole common file, and that of the MiddleManager by mistake.
    #[test]
    fn the_files_of_a_middle_manager_reach_its_peons() {
        let common = include_str!("../../../e2e/druid/migrated/common.runtime.properties");
        let all = read("migrated", &[&[("common.runtime.properties", common.as_bytes())]]);
        for (name, value) in [
            (
                "druid.extensions.loadList",
                "[\"druid-s3-extensions\", \"postgresql-metadata-storage\", \"druid-kafka-indexing-service\"]",
            ),
            ("druid.storage.type", "s3"),
            ("druid.s3.enablePathStyleAccess", "true"),
            ("druid.indexer.logs.s3Prefix", "druid/indexing-logs"),
            ("druid.metadata.storage.connector.password", "pa$$ \\word"),
        ] {
            assert_eq!(all.get(name).map(String::as_str), Some(value), "{name}");
        }
        let runtime = include_str!("../../../e2e/druid/migrated/runtime.properties");
        let (succeeded, _, _, message) =
            run("manager", &[&[("runtime.properties", runtime.as_bytes())]], &[]);
        assert!(
            !succeeded && message.contains("put its options into javaOpts"),
            "{message}"
        );
    }

    #[test]
    fn what_is_no_property_is_said_or_refused() {
        let (succeeded, written, logged, message) = run(
            "other",
            &[&[
                ("log4j2.xml", b"<a/>"),
                ("druid.processing.numThreads", b"3"),
                (
                    "runtime.properties",
                    b"druid.host=localhost\ndruid.worker.capacity = 4\ndruid.indexer.runner.startPort:1\n\
                      druid.indexer.runner.type=local\n#druid.worker.ip=a\ndruid.zk.service.host=druid.worker.x=1\n",
                ),
            ]],
            &[],
        );
        assert!(succeeded && message.is_empty(), "{message}");
        assert!(!parsed(&written).contains_key("log4j2.xml"));
        for said in [
            "the key log4j2.xml of propertiesFrom is no property",
            "the operator sets druid.processing.numThreads",
            "the operator sets druid.host",
            "the operator sets druid.indexer.runner.type",
            "druid.worker.capacity in propertiesFrom",
            "druid.indexer.runner.startPort in propertiesFrom",
        ] {
            assert!(logged.contains(said), "{said}: {logged}");
        }
        assert_eq!(logged.lines().count(), 6, "{logged}");
        for (name, _) in RESERVED {
            assert!(SCRIPT.contains(&format!(" {name}")), "{name}");
        }
        for (test, file, content, said) in [
            (
                "jvm",
                "jvm.config",
                "-server\n-Xmx1g\n",
                "the key jvm.config of propertiesFrom",
            ),
            (
                "opts",
                "runtime.properties",
                "druid.indexer.runner.javaOpts=-Xmx1g\n",
                "druid.indexer.runner.javaOpts of propertiesFrom",
            ),
        ] {
            let (succeeded, _, _, message) = run(test, &[&[(file, content.as_bytes())]], &[]);
            assert!(!succeeded);
            assert!(message.starts_with(&format!("{REFUSED}{said}")), "{message}");
        }
    }

    #[test]
    fn variables_are_properties_and_win() {
        let odd = "a\\b 'q' \"d\" $HOME `id`\nl2 ";
        let variables = [
            ("druid_a_b__c", odd),
            ("druid_source", "variable"),
            ("druid_empty", ""),
            ("OTHER", "x\ndruid_forged=1"),
        ];
        let (succeeded, written, logged, _) = run("variables", &[&[("druid.source", b"file")]], &variables);
        assert!(succeeded, "{logged}");
        let all = parsed(&written);
        assert_eq!(all["druid.a.b_c"], odd);
        assert_eq!(
            (all["druid.source"].as_str(), all["druid.empty"].as_str()),
            ("variable", "")
        );
        assert!(!all.contains_key("druid.forged"), "{all:?}");
    }
}
