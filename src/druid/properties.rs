//! The operator's `runtime.properties`: the lowest level of settings (pure).
//!
//! The names are Druid's and those of the proposal for running peons as pods, so that an administrator finds the
//! properties known from a MiddleManager's file.

use std::collections::BTreeMap;

use super::java_options;

/// Prefix of properties that are handed to every peon with the prefix taken off, as Druid's forking runner does.
pub const FORK_PROPERTY: &str = "druid.indexer.fork.property.";
/// JVM options as one string.
pub const JAVA_OPTS: &str = "druid.indexer.runner.javaOpts";
/// JVM options as a JSON array.
pub const JAVA_OPTS_ARRAY: &str = "druid.indexer.runner.javaOptsArray";

const NAMESPACE: &str = "druid.indexer.namespace";
const IMAGE: &str = "druid.indexer.image";
const MEMORY: &str = "druid.indexer.default.pod.memory";
const CPU: &str = "druid.indexer.default.pod.cpu";
const MODE: &str = "druid.indexer.runner.mode";

/// Why the file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProperties {
    /// The file does not follow the syntax of Java properties.
    #[error("line {line} is not a Java property: {reason}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// One property has an unusable value.
    #[error("the property {name} is {value:?}: {reason}")]
    Value {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        reason: String,
    },
}

/// The properties that the operator reads, each absent where the file does not give it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeProperties {
    /// `druid.indexer.namespace`: the namespace to watch.
    pub namespace: Option<String>,
    /// `druid.indexer.image`: the Druid image.
    pub image: Option<String>,
    /// `druid.indexer.default.pod.memory`, a Kubernetes quantity.
    pub memory: Option<String>,
    /// `druid.indexer.default.pod.cpu`, a Kubernetes quantity.
    pub cpu: Option<String>,
    /// `druid.indexer.runner.javaOpts`, then `druid.indexer.runner.javaOptsArray`.
    pub java_opts: Vec<String>,
    /// `druid.indexer.fork.property.*`, without the prefix.
    pub properties: BTreeMap<String, String>,
    /// What says where logs are archived, under Druid's own names.
    pub logs: LogProperties,
    /// Not in the file: the operator's own image, for sidecars that archive logs.
    pub sidecar_image: Option<String>,
    /// Not in the file: whether the platform chooses the user of every pod, as OpenShift does.
    pub platform_user: bool,
    /// Not in the file: seconds after which what was read of a log is archived.
    pub log_flush_seconds: Option<u32>,
    /// Not in the file: most bytes of a log that are archived.
    pub log_most_bytes: Option<u64>,
    /// Names in the file that mean nothing to the operator, for a warning.
    pub unknown: Vec<String>,
}

/// Port of a peon's HTTP server.
pub const PEON_PORT: u16 = 8100;
/// Prefixes of [`RuntimeProperties::logs`].
const LOGS: [&str; 6] = [
    "druid.indexer.logs.",
    "druid.s3.",
    "druid.azure.",
    "druid.storage.sse.",
    "peon.google.",
    "peon.azure.",
];

/// Properties that may hold credentials: their values are not printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LogProperties(pub BTreeMap<String, String>);

/// Those of [`LogProperties`] that are secrets.
const LOG_CREDENTIALS: [&str; 6] = [
    "druid.s3.accessKey",
    "druid.s3.secretKey",
    "druid.s3.sessionToken",
    "druid.azure.key",
    "druid.azure.sharedAccessStorageToken",
    "peon.google.serviceAccount",
];

impl LogProperties {
    /// What may be given to a pod in any namespace: where logs are archived, and not the operator's own credentials.
    #[must_use]
    pub fn without_credentials(&self) -> BTreeMap<String, String> {
        let mut all = self.0.clone();
        all.retain(|name, _| !LOG_CREDENTIALS.contains(&name.as_str()));
        all
    }
}

impl std::fmt::Debug for LogProperties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Reads a properties file as Druid does: in UTF-8 (`org.apache.druid.guice.PropertiesModule`), not in the encoding of
/// Java's own syntax.
///
/// # Errors
/// The line that does not follow the syntax.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, InvalidProperties> {
    let mut all = BTreeMap::new();
    java_properties::PropertiesIter::new_with_encoding(text.as_bytes(), encoding_rs::UTF_8)
        .read_into(|name, value| {
            all.insert(name, value);
        })
        .map_err(|e| InvalidProperties::Syntax {
            line: e.line_number().unwrap_or_default(),
            reason: e.to_string(),
        })?;
    Ok(all)
}

/// Takes the JVM options out of the properties: `druid.indexer.runner.javaOpts`, then
/// `druid.indexer.runner.javaOptsArray`.
fn take_java_opts(all: &mut BTreeMap<String, String>) -> Result<Vec<String>, InvalidProperties> {
    let mut take = |name: &str| all.remove(name).filter(|value| !value.trim().is_empty());
    let mut options = Vec::new();
    if let Some(value) = take(JAVA_OPTS) {
        options.extend(
            java_options::in_text(&value).map_err(|reason| InvalidProperties::Value {
                name: JAVA_OPTS,
                value,
                reason,
            })?,
        );
    }
    if let Some(value) = take(JAVA_OPTS_ARRAY) {
        let array: Vec<String> = serde_json::from_str(&value).map_err(|e| InvalidProperties::Value {
            name: JAVA_OPTS_ARRAY,
            value,
            reason: format!("it must be a JSON array of strings ({e})"),
        })?;
        options.extend(array);
    }
    Ok(options)
}

/// What a file of a MiddleManager means for its peons, as its `ForkingTaskRunner` hands it on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForPeons {
    /// Properties; those with [`FORK_PROPERTY`], which is taken off, override the others.
    pub properties: BTreeMap<String, String>,
    /// JVM options, which are no longer among the properties.
    pub java_opts: Vec<String>,
}

impl ForPeons {
    /// Reads the properties of a file.
    ///
    /// # Errors
    /// [`InvalidProperties`] names the property.
    pub fn of(all: &BTreeMap<String, String>) -> Result<Self, InvalidProperties> {
        let mut properties = all.clone();
        let java_opts = take_java_opts(&mut properties)?;
        let forked: Vec<(String, String)> = all
            .iter()
            .filter_map(|(name, value)| {
                let own = name.strip_prefix(FORK_PROPERTY).filter(|own| !own.is_empty())?;
                Some((own.to_owned(), value.clone()))
            })
            .collect();
        properties.retain(|name, _| !name.starts_with(FORK_PROPERTY));
        properties.extend(forked);
        Ok(Self {
            properties,
            java_opts,
        })
    }
}

impl RuntimeProperties {
    /// Reads the text of a properties file.
    ///
    /// # Errors
    /// [`InvalidProperties`] names the line or the property.
    pub fn parse(text: &str) -> Result<Self, InvalidProperties> {
        let mut all = parse(text)?;
        let java_opts = take_java_opts(&mut all)?;
        let mut take = |name: &str| {
            all.remove(name)
                .map(|v| v.trim().to_owned())
                .filter(|v| !v.is_empty())
        };
        let mut read = Self {
            namespace: take(NAMESPACE),
            image: take(IMAGE),
            memory: take(MEMORY),
            cpu: take(CPU),
            java_opts,
            ..Self::default()
        };
        for (name, value) in [(MEMORY, &read.memory), (CPU, &read.cpu)] {
            if let Some(value) = value {
                crate::quantity::parse(value).map_err(|reason| InvalidProperties::Value {
                    name,
                    value: value.clone(),
                    reason,
                })?;
            }
        }
        if let Some(mode) = take(MODE).filter(|mode| mode != "k8s") {
            let reason = "only k8s is supported".to_owned();
            return Err(InvalidProperties::Value {
                name: MODE,
                value: mode,
                reason,
            });
        }
        for (name, value) in all {
            match name.strip_prefix(FORK_PROPERTY) {
                Some(name) if !name.is_empty() => {
                    read.properties.insert(name.to_owned(), value);
                }
                _ if LOGS.iter().any(|prefix| name.starts_with(prefix)) => {
                    read.logs.0.insert(name, value);
                }
                _ => read.unknown.push(name),
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_names_of_the_proposal() {
        let read = RuntimeProperties::parse(
            "# comment\n\
             druid.indexer.namespace = druid\n\
             druid.indexer.image: apache/druid:33.0.0\n\
             druid.indexer.default.pod.memory=3G\n\
             druid.indexer.default.pod.cpu=500m\n\
             druid.indexer.runner.mode=k8s\n\
             druid.indexer.runner.javaOpts=-Da=1 \\\n   -Db='2 3'\n\
             druid.indexer.runner.javaOptsArray=[\"-Dc=4\"]\n\
             druid.indexer.fork.property.druid.processing.numThreads=2\n\
             druid.indexer.logs.type=s3\n\
             druid.s3.secretKey=hidden\n\
             druid.port=8090\n",
        )
        .unwrap();
        assert_eq!(read.namespace.as_deref(), Some("druid"));
        assert_eq!(read.image.as_deref(), Some("apache/druid:33.0.0"));
        assert_eq!(read.memory.as_deref(), Some("3G"));
        assert_eq!(read.cpu.as_deref(), Some("500m"));
        assert_eq!(read.java_opts, ["-Da=1", "-Db=2 3", "-Dc=4"]);
        assert_eq!(read.properties["druid.processing.numThreads"], "2");
        assert_eq!(read.logs.0["druid.indexer.logs.type"], "s3");
        assert!(!format!("{read:?}").contains("hidden"), "{read:?}");
        let to_pods: Vec<_> = read.logs.without_credentials().into_keys().collect();
        assert_eq!(to_pods, ["druid.indexer.logs.type"]);
        assert_eq!(read.unknown, ["druid.port"]);
    }

    #[test]
    fn bad_values_name_their_property() {
        let error = |text: &str| RuntimeProperties::parse(text).unwrap_err().to_string();
        assert!(error("druid.indexer.runner.mode=process").contains("druid.indexer.runner.mode"));
        assert!(error("druid.indexer.default.pod.memory=much").contains("druid.indexer.default.pod.memory"));
        assert!(error("druid.indexer.runner.javaOptsArray=-Xmx1g").contains("JSON array"));
        assert!(error("druid.indexer.runner.javaOpts=\"-Xmx1g").contains("quote"));
    }

    /// Druid reads its files in UTF-8.
    #[test]
    fn a_file_is_read_in_utf_8() {
        let read = RuntimeProperties::parse(
            "druid.indexer.fork.property.druid.x=größe €\ndruid.indexer.logs.prefix=jürgen\\u00e9\n",
        )
        .unwrap();
        assert_eq!(read.properties["druid.x"], "größe €");
        assert_eq!(read.logs.0["druid.indexer.logs.prefix"], "jürgené");
    }

    #[test]
    fn lines_of_a_middle_manager_mean_what_they_mean_there() {
        let all = [
            ("druid.worker.capacity", "4"),
            ("druid.processing.numThreads", "9"),
            ("druid.indexer.fork.property.druid.processing.numThreads", "3"),
            (JAVA_OPTS, "-Da='b c' -server"),
            (JAVA_OPTS_ARRAY, r#"["-Xmx3g"]"#),
        ];
        let all = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let read = ForPeons::of(&all.into()).unwrap();
        let properties: Vec<_> = read
            .properties
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            properties,
            [
                ("druid.processing.numThreads", "3"),
                ("druid.worker.capacity", "4")
            ]
        );
        assert_eq!(read.java_opts, ["-Da=b c", "-server", "-Xmx3g"]);
        let wrong = [(JAVA_OPTS_ARRAY.to_owned(), "-Xmx3g".to_owned())];
        assert!(ForPeons::of(&wrong.into()).is_err());
    }

    #[test]
    fn the_file_in_config_is_valid() {
        let read = RuntimeProperties::parse(include_str!("../../config/runtime.properties")).unwrap();
        assert_eq!(read.unknown, Vec::<String>::new());
    }
}
