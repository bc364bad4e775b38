//! docs/migration.md, followed word by word with the files of a MiddleManager.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::{Case, MiddleManager, case, text};
use crate::testbed::{
    druid::{STORAGE_PATH, samples},
    exec,
    fixture::{Fixture, LIMIT},
    wait::wait_until,
};

pub(super) const CASES: &[Case] = &[case(
    "middle_manager::the_files_of_a_middle_manager_are_enough",
    migration,
)
.own()];

const PAGE: &str = include_str!("../../../../docs/migration.md");
const COMMON: &str = include_str!("../../../druid/migrated/common.runtime.properties");
const RUNTIME: &str = include_str!("../../../druid/migrated/runtime.properties");
const LOG4J2: &str = include_str!("../../../druid/migrated/log4j2.xml");
const PASSWORD: &str = include_str!("../../../druid/migrated/metadata-password");
const ACCESS_KEY: &str = "an-access-key";
const SECRET_KEY: &str = "a-secret-key-of-the-tests";
/// Lines of the MiddleManager's runtime.properties that the page says to leave out.
const LEFT_OUT: [&str; 3] = [
    "druid.service",
    "druid.plaintextPort",
    "druid.indexer.task.baseTaskDir",
];
/// Options in it that the page says to leave out.
const SIZES: [&str; 3] = ["-Xms", "-Xmx", "-XX:MaxDirectMemorySize"];
/// The copy of the sample that the reader corrects.
const MIGRATED: &str = "migrated.yaml";

fn migration(fixture: &Fixture) -> Result<()> {
    let reader = Reader::new(fixture)?;
    let mut commands = commands().into_iter();
    let _before = Default(fixture);
    // Its fields have another owner, and would stay beside those of the page's.
    let args = ["peontemplate", "default", "--namespace", fixture.home()];
    fixture.kubectl.delete(&args)?;
    for command in &mut commands {
        reader.run(&command)?;
        if command.ends_with(MIGRATED) && command.starts_with("cp ") {
            break;
        }
    }
    correct(fixture, &reader.folder.join(MIGRATED))?;
    for command in commands {
        reader.run(&command)?;
    }

    // What has no effect is named.
    let named = |template: &Value| {
        let ready = &template["status"]["conditions"][0];
        ready["reason"] == "Valid" && text(&ready["message"]).contains("druid.worker.capacity")
    };
    fixture.kubectl.wait_for(&args, LIMIT, named)?;
    // The log configuration writes to files; the task's log is whole all the same.
    let log = fixture.peon(&["logs", "noop", "--namespace", fixture.home()])?;
    ensure!(
        log.contains("Using emitter [LoggingEmitter") && log.contains("Running task: noop"),
        "{log}"
    );
    ensure!(
        !log.contains(SECRET_KEY) && !log.contains(PASSWORD.trim()),
        "{log}"
    );

    let manager = MiddleManager::start(fixture)?;
    let datasource = format!("migrated_{}", fixture.run);
    let id = format!("index_parallel_{datasource}");
    let mut sample = samples::index_parallel("migrated", &id, &datasource)?;
    manager.submit(&sample["spec"]["task"].take())?;
    let status = manager.until_ended(&id)?;
    ensure!(status["statusCode"] == "SUCCESS", "{status}");
    wait_until(LIMIT, "the segments", || {
        let segments = fixture.druid.segments(&datasource)?;
        Ok((!segments.is_empty()).then_some(()))
    })
}

/// The common properties, with what this cluster lacks in another way: the central repository has the extension for S3 and
/// that for `PostgreSQL` of no version.
fn common(fixture: &Fixture) -> String {
    let with = COMMON
        .replace("{zookeeper}", fixture.druid.zookeeper())
        .replace("{bucket}", "druid")
        .replace("{endpoint}", "http://s3:9000")
        .replace("{accessKey}", ACCESS_KEY)
        .replace("{secretKey}", SECRET_KEY)
        .replace("\"druid-s3-extensions\", \"postgresql-metadata-storage\", ", "");
    let local = format!(
        "\ndruid.storage.type=local\ndruid.storage.storageDirectory={STORAGE_PATH}/segments\n\
         druid.indexer.logs.type=file\ndruid.indexer.logs.directory={STORAGE_PATH}/indexing-logs\n"
    );
    with + &local
}

/// The commands of the part about MiddleManagers: lines that are indented as code.
fn commands() -> Vec<String> {
    let part = PAGE
        .split("\n## ")
        .find(|part| part.starts_with("From MiddleManagers"));
    let lines = part.unwrap_or_default().lines();
    lines
        .filter_map(|line| line.strip_prefix("       "))
        .map(|line| line.split("   #").next().unwrap_or(line).trim().to_owned())
        .collect()
}

/// Somebody in a folder with the files, and a checkout's samples.
struct Reader {
    folder: PathBuf,
    kubeconfig: PathBuf,
    path: String,
}

impl Reader {
    fn new(fixture: &Fixture) -> Result<Self> {
        let cluster = fixture.target.own().context("no cluster of our own")?;
        let folder = cluster.scratch("migration")?;
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let common = common(fixture);
        for (name, content) in [
            ("common.runtime.properties", common.as_str()),
            ("log4j2.xml", LOG4J2),
            ("metadata-password", PASSWORD),
        ] {
            fs::write(folder.join(name), content)?;
        }
        symlink(
            concat!(env!("CARGO_MANIFEST_DIR"), "/../config"),
            folder.join("config"),
        )?;
        let kubeconfig = folder.join("kubeconfig");
        fs::copy(cluster.kubeconfig(), &kubeconfig)?;
        let programs = env::current_exe()?;
        let path = format!(
            "{}:{}:{}",
            cluster.bin_dir().display(),
            programs.parent().unwrap_or(Path::new("/")).display(),
            env::var("PATH").unwrap_or_default()
        );
        let reader = Self {
            folder,
            kubeconfig,
            path,
        };
        reader.run(&format!(
            "kubectl config set-context --current --namespace {}",
            fixture.home()
        ))?;
        Ok(reader)
    }

    /// Runs a command of the page as it stands.
    fn run(&self, command: &str) -> Result<String> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-e", "-c", command]).current_dir(&self.folder);
        shell.env("KUBECONFIG", &self.kubeconfig).env("PATH", &self.path);
        shell.env("ACCESS_KEY", ACCESS_KEY).env("SECRET_KEY", SECRET_KEY);
        exec::output(&mut shell).with_context(|| format!("the page says: {command}"))
    }
}

/// What the page leaves to the reader: the image, sizes for this cluster, and the lines of the runtime.properties.
fn correct(fixture: &Fixture, file: &Path) -> Result<()> {
    let mut template: Value = serde_yaml::from_str(&fs::read_to_string(file)?)?;
    let spec = &mut template["spec"];
    spec["image"] = json!(fixture.druid_image);
    spec["resources"] = json!({"requests": {"cpu": "250m"}, "limits": {"memory": "1Gi", "cpu": "1"}});
    let password = "druid.metadata.storage.connector.password";
    let mut properties = Map::from_iter([(password.to_owned(), spec["properties"][password].take())]);
    let lines = RUNTIME.lines().filter_map(|line| line.split_once('='));
    for (name, value) in lines.filter(|(name, _)| !name.starts_with('#') && !LEFT_OUT.contains(name)) {
        let mut value = value.to_owned();
        if name == "druid.indexer.runner.javaOptsArray" {
            let mut options: Vec<String> = serde_json::from_str(&value)?;
            options.retain(|option| !SIZES.iter().any(|size| option.starts_with(size)));
            value = json!(options).to_string();
        }
        properties.insert(name.to_owned(), json!(value));
    }
    spec["properties"] = Value::Object(properties);
    let pod = &mut spec["template"]["spec"];
    pod["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
    if let Some(mounts) = pod["containers"][0]["volumeMounts"].as_array_mut() {
        mounts.push(json!({"name": "deep-storage", "mountPath": STORAGE_PATH}));
    }
    if let Some(volumes) = pod["volumes"].as_array_mut() {
        volumes.push(
            json!({"name": "deep-storage", "persistentVolumeClaim": {"claimName": "druid-deep-storage"}}),
        );
    }
    Ok(fs::write(file, template.to_string())?)
}

/// The template of the lane, which other cases use afterwards, and what the page has made.
struct Default<'a>(&'a Fixture);

impl Drop for Default<'_> {
    fn drop(&mut self) {
        let namespace = self.0.home();
        let made = [
            "configmap/druid-common",
            "configmap/druid-log4j2",
            "secret/druid-metadata",
            "secret/druid-s3",
            "serviceaccount/druid-peon",
            "peontask/noop",
            "peontemplate/default",
        ];
        let gone = made
            .iter()
            .try_for_each(|object| self.0.kubectl.delete(&[object, "--namespace", namespace]));
        let back = self
            .0
            .sample()
            .and_then(|sample| self.0.apply(namespace, &sample));
        if let Err(error) = gone.and(back) {
            eprintln!("the lane's template is another one: {error:#}");
        }
    }
}
