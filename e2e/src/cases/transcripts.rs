//! The transcripts in `docs/cli.md`: what a user sees, taken from a real cluster.
//!
//! With `UPDATE_TRANSCRIPTS=1` they are written anew; without it they are compared.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{Case, case};
use crate::testbed::druid::samples;
use crate::testbed::exec;
use crate::testbed::fixture::{Fixture, LIMIT};

pub(super) const CASES: [Case; 1] = [case("transcripts::of_the_cli_are_as_documented", transcripts)];

const UPDATE: &str = "UPDATE_TRANSCRIPTS";
const NOOP: &str = r#"{"type": "noop", "runTime": 1000}"#;
const INDEX: &str = r#"{"type": "index_parallel", "dataSource": "wikipedia"}"#;
/// The namespace as readers know it.
const NAMESPACE: &str = "druid";

fn transcripts(fixture: &Fixture) -> Result<()> {
    let namespace = fixture.namespace("transcripts")?;
    // As users have it, without the archive of the image that is built here.
    let template = samples::template(&fixture.druid, &fixture.druid_image)?;
    fixture.apply(&namespace, &samples::without_storage(template))?;
    let folder = std::env::temp_dir().join(&namespace);
    std::fs::create_dir_all(&folder)?;
    for (file, text) in [("nightly.json", NOOP), ("wikipedia.json", INDEX)] {
        std::fs::write(folder.join(file), text)?;
    }
    let shell = Shell {
        fixture,
        namespace: &namespace,
        folder: &folder,
    };
    let mut all = Vec::new();
    all.push((
        "submit",
        shell.run("kubectl peon submit nightly -f nightly.json --wait")?,
    ));

    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}},
    });
    fixture.apply(&namespace, &quota)?;
    let args = ["resourcequota", "none", "--namespace", &namespace];
    fixture
        .kubectl
        .wait_for(&args, LIMIT, |q| q["status"]["hard"]["pods"] == "0")?;
    shell.run("kubectl peon submit waiting -f nightly.json")?;
    fixture.until_reason(&namespace, "waiting", "QuotaExceeded")?;
    all.push(("explain-waiting", shell.run("kubectl peon explain waiting")?));

    shell.run("kubectl peon submit refused -f wikipedia.json")?;
    fixture.until_reason(&namespace, "refused", "NeedsOverlord")?;
    all.push((
        "explain-refused",
        shell.run("kubectl peon explain refused | head -n 11")?,
    ));
    std::fs::remove_dir_all(&folder)?;

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let documentation = std::fs::read_to_string(&path).context("docs/cli.md")?;
    let mut written = documentation.clone();
    for (name, transcript) in &all {
        written = with_transcript(&written, name, transcript)?;
    }
    if std::env::var_os(UPDATE).is_some_and(|v| !v.is_empty()) {
        std::fs::write(&path, written)?;
        return Ok(());
    }
    let differs = written
        .lines()
        .zip(documentation.lines())
        .find(|(now, then)| now != then);
    ensure!(
        written == documentation,
        "docs/cli.md differs from the output of kubectl peon (now, documented): {differs:?}; {UPDATE}=1 \
         rewrites it. The new text is:\n{written}"
    );
    Ok(())
}

/// A shell as a user has one.
struct Shell<'a> {
    fixture: &'a Fixture,
    namespace: &'a str,
    folder: &'a Path,
}

impl Shell<'_> {
    /// Runs a line; returns it with all that it says, without what differs from run to run.
    fn run(&self, line: &str) -> Result<String> {
        let peon = self.fixture.peon_command()?;
        let program = peon.get_program().display().to_string();
        let mut command = Command::new("sh");
        for (variable, value) in peon.get_envs() {
            command.env(variable, value.unwrap_or_default());
        }
        // What goes to either stream, in its order.
        let script = format!("exec 2>&1; {}", line.replace("kubectl peon", &program));
        command
            .env("PEON_NAMESPACE", self.namespace)
            .current_dir(self.folder)
            .args(["-c", &script]);
        let done = exec::ended(&mut command, "")?;
        let said = String::from_utf8(done.stdout)?;
        Ok(format!("$ {line}\n{}", self.settled(&said)))
    }

    /// Without what differs from run to run.
    fn settled(&self, said: &str) -> String {
        let fixture = self.fixture;
        let said = said
            .replace(self.namespace, NAMESPACE)
            .replace(&fixture.druid_image, "docker.io/apache/druid:33.0.0")
            .replace(fixture.druid.zookeeper(), "zookeeper:2181");
        let mut lines: Vec<String> = aligned(&said)
            .lines()
            // Whether a task is seen before the operator has processed it is chance, and so is how full the node is.
            .filter(|line| {
                !line.contains("Pending (WaitingForOperator)") && !line.contains("(Unschedulable)")
            })
            .map(|line| steady_time(line) + "\n")
            .collect();
        // A task that found no room is said to start before it and after it.
        lines.dedup();
        lines.concat()
    }
}

/// A duration, which stands at the end of a line or before a colon, as nine seconds.
fn steady_time(line: &str) -> String {
    let Some((before, after)) = line.split_once(" after ") else {
        return line.to_owned();
    };
    let end = after
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(after.len());
    format!("{before} after 9s{}", &after[end..])
}

/// Aligns the columns of the settings anew: values were replaced by others of another width.
fn aligned(said: &str) -> String {
    let is_head = |line: &str| line.trim_start().starts_with("SETTING ");
    let lines: Vec<&str> = said.lines().collect();
    let Some(start) = lines.iter().position(|line| is_head(line)) else {
        return said.to_owned();
    };
    let end = (start..lines.len())
        .find(|at| lines[*at].is_empty())
        .unwrap_or(lines.len());
    let rows: Vec<Vec<&str>> = lines[start..end].iter().map(|line| cells(line)).collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|r| r.get(column))
            .map(|c| c.chars().count())
            .max()
    };
    let mut text: Vec<String> = lines[..start].iter().map(|line| (*line).to_owned()).collect();
    for row in &rows {
        let pad = |column: usize| width(column).unwrap_or_default() + 3;
        let padded = row
            .iter()
            .enumerate()
            .map(|(at, cell)| format!("{cell:<0$}", pad(at)));
        text.push(format!("  {}", padded.collect::<String>()).trim_end().to_owned());
    }
    text.extend(lines[end..].iter().map(|line| (*line).to_owned()));
    text.join("\n") + "\n"
}

/// The cells of a table's line, which have three blanks or more between them.
fn cells(line: &str) -> Vec<&str> {
    line.split("   ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect()
}

/// The documentation with this transcript behind its marker.
fn with_transcript(documentation: &str, name: &str, transcript: &str) -> Result<String> {
    const END: &str = "<!-- end of transcript -->";
    let marker = format!("<!-- transcript: {name} -->\n");
    let (before, rest) = documentation
        .split_once(&marker)
        .with_context(|| format!("no place for {name}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("no end of {name}"))?;
    let indented = transcript
        .lines()
        .map(|line| format!("    {line}").trim_end().to_owned() + "\n");
    Ok(format!(
        "{before}{marker}\n{}\n{END}{after}",
        indented.collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_replaces_the_one_that_was_there() {
        let before = "a\n<!-- transcript: x -->\nold\n<!-- end of transcript -->\nb\n";
        let after = with_transcript(before, "x", "$ y\n\nz\n").unwrap();
        assert_eq!(
            after,
            "a\n<!-- transcript: x -->\n\n    $ y\n\n    z\n\n<!-- end of transcript -->\nb\n"
        );
        assert_eq!(with_transcript(&after, "x", "$ y\n\nz\n").unwrap(), after);
        assert!(with_transcript(before, "absent", "").is_err());
    }

    #[test]
    fn times_and_columns_do_not_differ_from_run_to_run() {
        assert_eq!(steady_time("x succeeded after 12s"), "x succeeded after 9s");
        assert_eq!(steady_time("x failed after 2m30s: m"), "x failed after 9s: m");
        let table = "Settings\n  SETTING   VALUE      FROM\n  image     a          x y\n  heap      12 MiB     z\n\nEnd\n";
        assert_eq!(
            aligned(table),
            "Settings\n  SETTING   VALUE    FROM\n  image     a        x y\n  heap      12 MiB   z\n\nEnd\n"
        );
    }
}
