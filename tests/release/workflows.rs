//! The workflows, read as data.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use regex::Regex;
use serde_json::Value;

use crate::root;

fn workflows() -> Vec<(String, Value)> {
    let folder = root().join(".github/workflows");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let value = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.file_name().unwrap().to_string_lossy().into_owned(), value)
    };
    let all: Vec<_> = fs::read_dir(folder).unwrap().map(read).collect();
    assert_eq!(all.len(), 2);
    all
}

fn steps(job: &Value) -> &Vec<Value> {
    job["steps"].as_array().unwrap()
}

/// Every job of every workflow, with its place.
fn jobs() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (file, workflow) in workflows() {
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            found.push((format!("{file}: {name}"), job.clone()));
        }
    }
    found
}

#[test]
fn only_known_fields_are_used() {
    for (file, workflow) in workflows() {
        for field in workflow.as_object().unwrap().keys() {
            let known = ["name", "on", "permissions", "concurrency", "env", "jobs"];
            assert!(known.contains(&field.as_str()), "{file}: {field}");
        }
    }
    for (place, job) in jobs() {
        for field in job.as_object().unwrap().keys() {
            let known = [
                "needs",
                "runs-on",
                "timeout-minutes",
                "container",
                "strategy",
                "env",
                "outputs",
                "permissions",
                "steps",
            ];
            assert!(known.contains(&field.as_str()), "{place}: {field}");
        }
        assert!(job["timeout-minutes"].is_u64(), "{place} has no time limit");
        for step in steps(&job) {
            assert!(
                step["run"].is_string() != step["uses"].is_string(),
                "{place}: {step}"
            );
            for field in step.as_object().unwrap().keys() {
                let known = ["name", "id", "run", "uses", "with", "env"];
                assert!(known.contains(&field.as_str()), "{place}: {field}");
            }
        }
    }
}

#[test]
fn a_job_needs_jobs_that_exist_and_reads_outputs_that_are_written() {
    let output = Regex::new(r"needs\.([a-z]+)\.outputs\.([a-z]+)").unwrap();
    let own = Regex::new(r"steps\.([a-z]+)\.outputs").unwrap();
    for (file, workflow) in workflows() {
        let jobs = workflow["jobs"].as_object().unwrap();
        for (name, job) in jobs {
            let needs: Vec<String> = job["needs"]
                .as_array()
                .map(|n| n.iter().map(|n| n.as_str().unwrap().to_owned()).collect())
                .unwrap_or_default();
            assert!(
                needs.iter().all(|n| jobs.contains_key(n)),
                "{file}: {name} needs {needs:?}"
            );
            let text = job.to_string();
            for found in output.captures_iter(&text) {
                assert!(
                    needs.contains(&found[1].to_owned()),
                    "{file}: {name}: {}",
                    &found[0]
                );
                assert!(
                    jobs[&found[1]]["outputs"][&found[2]].is_string(),
                    "{file}: {}",
                    &found[0]
                );
            }
            for found in own.captures_iter(&text) {
                assert!(
                    steps(job).iter().any(|s| s["id"] == found[1]),
                    "{file}: {name}: {}",
                    &found[0]
                );
            }
        }
    }
}

/// A tag of an action may be other code tomorrow, and it is given the release's credentials.
#[test]
fn actions_are_named_by_commit() {
    let pinned = Regex::new(r"^\s+(?:- )?uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$").unwrap();
    let mut found = 0;
    for (file, _) in workflows() {
        let text = fs::read_to_string(root().join(".github/workflows").join(&file)).unwrap();
        for line in text.lines().filter(|line| line.contains("uses:")) {
            found += 1;
            assert!(pinned.is_match(line), "{file}: {line}");
        }
    }
    assert!(found > 10, "{found}");
}

/// What a step runs can be run on any machine.
#[test]
fn scripts_and_targets_exist() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let script = Regex::new(r"scripts/[a-z/_]+\.sh").unwrap();
    let make = Regex::new(r"^make ([a-z-]+)$").unwrap();
    let test = Regex::new(r"--test ([a-z_]+)").unwrap();
    let (mut scripts, mut targets) = (0, 0);
    for (place, job) in jobs() {
        for run in steps(&job).iter().filter_map(|s| s["run"].as_str()) {
            for found in script.find_iter(run) {
                scripts += 1;
                let metadata = fs::metadata(root().join(found.as_str()));
                let mode = metadata
                    .unwrap_or_else(|e| panic!("{place}: {run}: {e}"))
                    .permissions()
                    .mode();
                assert!(mode & 0o111 != 0, "{} cannot be run", found.as_str());
            }
            if let Some(found) = make.captures(run) {
                targets += 1;
                assert!(
                    makefile.contains(&format!(".PHONY: {}\n", &found[1])),
                    "{place}: {run}"
                );
            }
            for found in test.captures_iter(run) {
                let tests = root().join("tests");
                let (file, folder) = (tests.join(format!("{}.rs", &found[1])), tests.join(&found[1]));
                assert!(file.exists() || folder.exists(), "{place}: {run}");
            }
            // What a user names, such as a branch, must not become a part of a command.
            assert!(!run.contains("${{"), "{place}: {run}: pass it as a variable");
        }
    }
    assert!(scripts > 6 && targets > 4, "{scripts} {targets}");
}

#[test]
fn jobs_get_no_more_rights_than_they_use() {
    for (file, workflow) in workflows() {
        assert_eq!(
            workflow["permissions"],
            serde_json::json!({"contents": "read"}),
            "{file}"
        );
    }
    for (place, job) in jobs() {
        let given = job["permissions"].as_object();
        let writes: Vec<&str> = given
            .into_iter()
            .flatten()
            .filter(|(_, right)| *right == "write")
            .map(|(name, _)| name.as_str())
            .collect();
        let text = job.to_string();
        for write in writes {
            let used = match write {
                "contents" => text.contains("gh release create"),
                "packages" => text.contains("docker login"),
                "id-token" | "attestations" => text.contains("attest-build-provenance"),
                _ => false,
            };
            assert!(used, "{place}: {write}");
        }
        for step in steps(&job) {
            let Some(action) = step["uses"].as_str() else {
                continue;
            };
            let (_, version) = action.split_once('@').unwrap();
            assert!(version != "main" && version != "master", "{place}: {action}");
            if action.starts_with("actions/checkout@") {
                assert_eq!(step["with"]["persist-credentials"], false, "{place}");
            }
        }
    }
}
