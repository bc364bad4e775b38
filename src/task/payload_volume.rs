//! How a payload in chunks reaches the peon (pure).
//!
//! The chunks are mounted side by side, and the pod's own script puts them together: the operator never copies a
//! payload that may hold secrets. What the script needs to know are small files of the attempt's ConfigMap.

use serde_json::{Value, json};

use crate::api::TaskFrom;
use crate::druid::payload::Payload;

/// Where the chunks are mounted.
pub const DIRECTORY: &str = "/etc/peon-payload";
/// Name of the volume.
pub const VOLUME: &str = "peon-payload";

/// The part of the peon's script that makes `/peon/task/task.json`. A payload that does not match is not run: the
/// message becomes the container's, and the exit code is none of Druid's.
pub const SCRIPT: &str = "if [ -e /etc/peon/payload.sha256 ]; then\n\
    cat /etc/peon-payload/* > /peon/payload\n\
    if [ -e /etc/peon/payload.gzip ]; then mv /peon/payload /peon/payload.gz; gzip -d /peon/payload.gz; fi\n\
    if ! sha256sum -c /etc/peon/payload.sha256; then\n\
    echo 'peon payload: the SHA-256 of the chunks is not that of taskFrom' | tee /dev/termination-log; exit 64\n\
    fi\n\
    if [ -e /etc/peon/payload.head ]; then\n\
    { cat /etc/peon/payload.head; tail -c \"+$(cat /etc/peon/payload.skip)\" /peon/payload; } > /peon/task/task.json\n\
    rm /peon/payload\n\
    else mv /peon/payload /peon/task/task.json; fi\n\
    else ln -sf /etc/peon/task.json /peon/task/task.json; fi\n";

/// What the script's failure says first.
pub const REFUSED: &str = "peon payload: ";
/// And its exit code.
pub const REFUSED_CODE: i32 = 64;

/// The files that the script reads, by name.
#[must_use]
pub fn files(from: &TaskFrom, payload: &Payload) -> Vec<(&'static str, String)> {
    let mut files = vec![("payload.sha256", format!("{}  /peon/payload\n", from.sha256))];
    if from.gzip {
        files.push(("payload.gzip", String::new()));
    }
    if let Some(at) = payload.id_added {
        let end = payload.json.len() - (payload.original_size - at);
        files.push(("payload.head", payload.json[..end].to_owned()));
        files.push(("payload.skip", (at + 1).to_string()));
    }
    files
}

/// The volume: the chunks as files that sort in their order.
#[must_use]
pub fn volume(from: &TaskFrom) -> Value {
    let source = |kind: &str, at: usize, chunk: &crate::api::Chunk| json!({kind: {"name": chunk.name, "items": [{"key": chunk.key, "path": format!("{at:03}")}]}});
    let config_maps = from
        .config_maps
        .iter()
        .enumerate()
        .map(|(at, c)| source("configMap", at, c));
    let secrets = from
        .secrets
        .iter()
        .enumerate()
        .map(|(at, c)| source("secret", at, c));
    let sources: Vec<Value> = config_maps.chain(secrets).collect();
    json!({"name": VOLUME, "projected": {"sources": sources, "defaultMode": 0o444}})
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Command, Output};

    use super::*;
    use crate::task::chunks::{Chunks, Kind};

    /// Runs the script as a pod would, with its folders below `name`.
    fn run(name: &str, from: &TaskFrom, payload: &Payload, parts: &[Vec<u8>]) -> (Output, Option<Vec<u8>>) {
        let root = std::env::temp_dir().join(format!("peon-payload-{}-{name}", std::process::id()));
        for folder in ["etc/peon", "etc/peon-payload", "peon/task", "dev"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (name, content) in files(from, payload) {
            let root = root.display();
            let content = content.replace("  /peon/", &format!("  {root}/peon/"));
            fs::write(format!("{root}/etc/peon/{name}"), content).unwrap();
        }
        for (at, part) in parts.iter().enumerate() {
            fs::write(root.join(format!("etc/peon-payload/{at:03}")), part).unwrap();
        }
        let mut script = SCRIPT.to_owned();
        for folder in ["etc/peon", "peon/", "dev/termination-log"] {
            script = script.replace(&format!(" /{folder}"), &format!(" {}/{folder}", root.display()));
        }
        let output = Command::new("/bin/sh").args(["-euc", &script]).output().unwrap();
        let task = fs::read(root.join("peon/task/task.json")).ok();
        fs::remove_dir_all(&root).unwrap();
        (output, task)
    }

    fn large() -> String {
        format!(
            "{{ \"type\": \"noop\",\"x\": \"{}\"}}",
            "0123456789abcdef".repeat(60_000)
        )
    }

    fn parts(json: &str) -> (TaskFrom, Vec<Vec<u8>>) {
        let chunks = Chunks::split(json.as_bytes()).unwrap();
        let objects = chunks.objects(&crate::task::fixtures::noop(), Kind::ConfigMap);
        let part = |object: &Value| {
            let bytes = object["binaryData"]["chunk"].clone();
            serde_json::from_value::<k8s_openapi::ByteString>(bytes)
                .unwrap()
                .0
        };
        (
            chunks.task_from("t", Kind::ConfigMap),
            objects.iter().map(part).collect(),
        )
    }

    #[test]
    fn the_pod_has_the_payload_to_the_byte_with_its_id() {
        let small = " {\"type\":\"noop\"}".to_owned();
        let named = "{\"type\":\"noop\", \"id\":\"x\"}".to_owned();
        for (at, json) in [small, named, large()].iter().enumerate() {
            let (from, parts) = parts(json);
            let payload = Payload::parse_chunked(json.as_bytes(), "name").unwrap();
            let (output, task) = run(&at.to_string(), &from, &payload, &parts);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(task.unwrap() == payload.json.as_bytes(), "case {at}");
        }
    }

    #[test]
    fn a_payload_that_does_not_match_is_not_run() {
        let json = "{\"type\":\"noop\", \"id\":\"x\"}";
        let (from, _) = parts(json);
        let payload = Payload::parse_chunked(json.as_bytes(), "name").unwrap();
        let (output, task) = run(
            "wrong",
            &from,
            &payload,
            &[b"{\"type\":\"noop\", \"id\":\"y\"}".to_vec()],
        );
        assert_eq!((output.status.code(), task), (Some(REFUSED_CODE), None));
        assert!(String::from_utf8_lossy(&output.stdout).contains(REFUSED));
    }

    #[test]
    fn the_volume_keeps_the_order() {
        let (from, _) = parts(&large());
        let many = TaskFrom {
            secrets: vec![from.config_maps[0].clone(); 12],
            config_maps: Vec::new(),
            ..from
        };
        let volume = volume(&many);
        let sources = volume["projected"]["sources"].as_array().unwrap();
        assert_eq!(sources.len(), 12);
        assert_eq!(sources[2]["secret"]["items"][0]["path"], "002");
        assert_eq!(sources[10]["secret"]["items"][0]["path"], "010");
    }
}
