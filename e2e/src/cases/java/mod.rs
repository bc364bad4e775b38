//! Java starts peons and Indexers with what the operator gives it, whatever its version.
//!
//! The cases run the program `java_arguments`, which is the operator's own code, and start Java with what it wrote. They
//! need no cluster.

mod druid;

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    cases::{Check, standalone},
    testbed::{
        cache::Cache,
        exec,
        java_runtimes::{RUNTIMES, Runtime},
        object_stores::server::Folder,
        progress::Progress,
    },
};

/// The cases, which may run beside each other.
pub const CASES: &[Check] = &[
    standalone("java::takes_what_the_operator_gives_it", takes_everything),
    standalone(
        "java::names_an_option_that_it_does_not_know",
        names_what_is_unknown,
    ),
    standalone(
        "java::starts_without_an_archive_of_classes_that_does_not_fit",
        starts_without_archive,
    ),
    standalone("java::runs_a_peon_of_druid", druid::runs_a_peon),
    standalone("java::runs_an_indexer_of_druid", druid::runs_an_indexer).full(),
];

const MAIN: &str = include_str!("../../../druid/java/Main.java");
/// The samples, by the name that they have here: some of them have the same.
const SAMPLES: [(&str, &str); 5] = [
    (
        "default",
        include_str!("../../../../config/samples/peontemplate.yaml"),
    ),
    (
        "migrated",
        include_str!("../../../../config/samples/peontemplate-migrated.yaml"),
    ),
    (
        "streaming",
        include_str!("../../../../config/samples/peontemplate-streaming.yaml"),
    ),
    (
        "warm",
        include_str!("../../../../config/samples/indexerpool.yaml"),
    ),
    (
        "shared",
        include_str!("../../../../config/samples/indexerpool-shared.yaml"),
    ),
];

/// A PeonTemplate.
fn template(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "peon.dev/v1alpha1", "kind": "PeonTemplate", "metadata": {"name": name}, "spec": spec})
}

/// The samples as objects.
fn samples() -> Result<Vec<Value>> {
    let read = |(name, sample): (&str, &str)| {
        let mut object: Value = serde_yaml::from_str(sample).with_context(|| name.to_owned())?;
        object["metadata"]["name"] = json!(name);
        Ok(object)
    };
    SAMPLES.into_iter().map(read).collect()
}

/// The argument files of these objects, by their names.
fn argument_files(objects: &[Value]) -> Result<BTreeMap<String, String>> {
    let program = env::current_exe()?.with_file_name("java_arguments");
    let written = exec::output_with_input(&mut Command::new(program), &serde_json::to_string(objects)?)?;
    serde_json::from_str(&written).context("no argument files")
}

/// The argument file with another class path.
fn with_class_path(file: &str, class_path: &str) -> Result<String> {
    let mut lines: Vec<String> = file.lines().map(str::to_owned).collect();
    let at = lines
        .iter()
        .position(|line| line == "\"-cp\"")
        .context("no class path")?;
    *lines.get_mut(at + 1).context("no class path")? = format!("\"{class_path}\"");
    Ok(lines.join("\n"))
}

/// Starts a JVM with that argument file and the class that stands in for Druid's, and waits for its end.
fn start(runtime: Runtime, java: &Path, folder: &Path, file: &str) -> Result<Output> {
    let path = folder.join(format!("{}.args", runtime.major));
    // The pod's script creates the folder for temporary files, and Java warns where there is none.
    let file = file.replace("=/peon/tmp\"", &format!("={}\"", folder.display()));
    fs::write(&path, with_class_path(&file, &folder.to_string_lossy())?)?;
    let mut argument = std::ffi::OsString::from("@");
    argument.push(&path);
    exec::ended(
        Command::new(java).env_remove("JAVA_TOOL_OPTIONS").arg(argument),
        "",
    )
}

/// Compiles the class that stands in for Druid's into this folder.
fn compile(folder: &Path) -> Result<()> {
    let source = folder.join("Main.java");
    fs::write(&source, MAIN)?;
    let mut javac = Command::new("javac");
    javac
        .args(["-proc:none", "--release", "17", "-d"])
        .args([folder, &source]);
    exec::output(&mut javac).map(drop)
}

/// With every sample, with no settings at all, and with options that have to be unlocked first: each JVM starts, is told all
/// arguments, has open what Druid needs, and warns of nothing.
fn takes_everything(cache: &Cache, progress: &Progress) -> Result<()> {
    let folder = Folder::new()?;
    compile(folder.path())?;
    let mut objects = samples()?;
    objects.push(template("without settings", &json!({})));
    let locked = [
        "-XX:+DebugNonSafepoints",
        "-XX:+UnlockDiagnosticVMOptions",
        "-XX:+UseParallelGC",
        "-XX:+UseZGC",
        "-Dwith=white \"space\" and $(NAME)",
        "--add-opens",
        "java.base/java.util=ALL-UNNAMED",
    ];
    objects.push(template("locked", &json!({"javaOpts": locked})));
    let files = argument_files(&objects)?;
    ensure!(files.len() == objects.len(), "{:?}", files.keys());
    for runtime in RUNTIMES {
        let java = runtime.java(cache, progress)?;
        for (name, file) in &files {
            let (_, arguments) = file
                .split_once("\"org.apache.druid.cli.Main\"\n")
                .context("no main class")?;
            let arguments = arguments.replace('"', "");
            let expected = format!("Java {}\n{arguments}open\n", runtime.major);
            let ended = start(runtime, &java, folder.path(), file)?;
            let said = String::from_utf8_lossy(&ended.stdout);
            let complained = String::from_utf8_lossy(&ended.stderr);
            ensure!(
                ended.status.success() && said == expected && complained.is_empty(),
                "{name} on Java {}: {}: {said}{complained}",
                runtime.major,
                ended.status
            );
        }
    }
    Ok(())
}

/// An archive of classes (`-XX:SharedArchiveFile`) that is missing, is none, or was made with another class path is left aside:
/// the JVM starts as without it. (One that is cut off ends it with SIGBUS.)
fn starts_without_archive(cache: &Cache, progress: &Progress) -> Result<()> {
    let folder = Folder::new()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    compile(folder.path())?;
    fs::write(path("text"), "no archive")?;
    for runtime in RUNTIMES {
        let java = runtime.java(cache, progress)?;
        let option = format!("-XX:SharedArchiveFile={}", path("other"));
        exec::output(Command::new(&java).args(["-Xshare:dump", &option, "-cp", &path("other.jar")]))?;
        for archive in ["missing", "text", "other"] {
            let option = format!("-XX:SharedArchiveFile={}", path(archive));
            let files = argument_files(&[template("archive", &json!({"javaOpts": [option]}))])?;
            let file = files.values().next().context("no argument file")?;
            let ended = start(runtime, &java, folder.path(), file)?;
            let said = String::from_utf8_lossy(&ended.stdout);
            let complained = String::from_utf8_lossy(&ended.stderr);
            ensure!(
                ended.status.success() && said.ends_with("open\n") && complained.is_empty(),
                "{archive} on Java {}: {}: {said}{complained}",
                runtime.major,
                ended.status
            );
        }
        fs::remove_file(path("other")).with_context(|| format!("Java {} made no archive", runtime.major))?;
    }
    Ok(())
}

/// An option that this version does not know ends the JVM, and its output names the option: nothing makes Java ignore it.
fn names_what_is_unknown(cache: &Cache, progress: &Progress) -> Result<()> {
    let folder = Folder::new()?;
    compile(folder.path())?;
    // The first is in no version; the others are in the documentation's list.
    for (option, known_by) in [
        ("-XX:+UseG1CG", [].as_slice()),
        ("-XX:+UseConcMarkSweepGC", &[]),
        ("-XX:+UseParallelOldGC", &[]),
        ("-XX:+ZGenerational", &[21, 25]),
        ("-XX:+UseCompactObjectHeaders", &[25]),
        ("-XX:+UseBiasedLocking", &[17]),
    ] {
        let files = argument_files(&[template("odd", &json!({"javaOpts": [option]}))])?;
        let file = files.values().next().context("no argument file")?;
        for runtime in RUNTIMES {
            let java = runtime.java(cache, progress)?;
            let ended = start(runtime, &java, folder.path(), file)?;
            let said = [ended.stdout, ended.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let name = option.trim_start_matches("-XX:+");
            match (ended.status.success(), known_by.contains(&runtime.major)) {
                (true, true) => {}
                (false, false) if said.contains(name) => {}
                _ => bail!("{option} on Java {}: {}: {said}", runtime.major, ended.status),
            }
        }
    }
    Ok(())
}
