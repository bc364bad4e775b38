//! How a payload in chunks reaches the peon (pure).
//!
//! The chunks are mounted side by side, and the pod's own script concatenates them: the operator never copies a payload
//! that may contain secrets. The script's parameters are small files of the attempt's ConfigMap.

use std::ops::Range;

use serde_json::{Value, json};

use crate::api::TaskFrom;
use crate::druid::payload::{LARGEST, Payload};

/// Where the chunks are mounted.
pub const DIRECTORY: &str = "/etc/peon-payload";
/// Name of the volume.
pub const VOLUME: &str = "peon-payload";

/// The part of the peon's script that creates `/peon/task/task.json`. A payload that does not match its hash, or that
/// is broken gzip, is not run: the error becomes the container's termination message, and the exit code is none of
/// Druid's. At most one byte more than the payload limit is decompressed.
pub const SCRIPT: &str = "if [ -e /etc/peon/payload.gzip ]; then cat /etc/peon-payload/* | gzip -dc | head -c 16777217 > /peon/payload\n\
    else cat /etc/peon-payload/* > /peon/payload; fi\n\
    if ! sha256sum -c /etc/peon/payload.sha256; then\n\
    echo 'peon payload: the SHA-256 of the chunks is not that of taskFrom' | tee /dev/termination-log; exit 64\n\
    fi\n\
    if [ -e /etc/peon/payload.edits ]; then\n\
    while read -r from length edit; do\n\
    tail -c \"+$from\" /peon/payload | head -c \"$length\"\n\
    if [ \"$edit\" != - ]; then cat /etc/peon/\"$edit\"; fi\n\
    done < /etc/peon/payload.edits > /peon/task/task.json\n\
    rm /peon/payload\n\
    else mv /peon/payload /peon/task/task.json; fi\n";

/// Prefix of the script's error message.
pub const REFUSED: &str = "peon payload: ";
/// Exit code of that failure.
pub const REFUSED_CODE: i32 = 64;

/// A change of the payload: the bytes that are replaced, and what replaces them.
pub type Replacement = (Range<usize>, String);

/// Names of the files with what is put into a payload: its id, and up to two limits or one object with them.
const EDITS: [&str; 4] = [
    "payload.edit.0",
    "payload.edit.1",
    "payload.edit.2",
    "payload.edit.3",
];

/// The files that the script reads, by name. None of them contains a byte of the payload. `memory` is what limits its
/// memory in bytes, in the order of the text.
#[must_use]
pub fn files(from: &TaskFrom, payload: &Payload, memory: &[Replacement]) -> Vec<(&'static str, String)> {
    let mut files = vec![("payload.sha256", format!("{}  /peon/payload\n", from.sha256))];
    if from.gzip {
        files.push(("payload.gzip", String::new()));
    }
    let id = payload.added.as_ref();
    let id = id.map(|added| (added.at..added.until, added.text.clone()));
    let mut edits: Vec<Replacement> = id.into_iter().chain(memory.iter().cloned()).collect();
    if edits.is_empty() {
        return files;
    }
    edits.sort_by_key(|(range, _)| range.start);
    let (mut lines, mut at) = (Vec::new(), 0);
    for ((range, text), name) in edits.into_iter().zip(EDITS) {
        // `tail` counts from 1.
        lines.push(format!("{} {} {name}\n", at + 1, range.start.saturating_sub(at)));
        at = range.end;
        files.push((name, text));
    }
    // As much as there is.
    lines.push(format!("{} {LARGEST} -\n", at + 1));
    files.push(("payload.edits", lines.concat()));
    files
}

/// The volume: the chunks as files whose names sort in their order.
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
    use crate::druid::ingestion_memory;
    use crate::payload::chunks::{Chunks, Kind};

    /// Runs the script as a pod would, with its folders below `name`.
    fn run(name: &str, from: &TaskFrom, payload: &Payload, parts: &[Vec<u8>]) -> (Output, Option<Vec<u8>>) {
        edited(name, from, payload, &[], parts)
    }

    fn edited(
        name: &str,
        from: &TaskFrom,
        payload: &Payload,
        memory: &[Replacement],
        parts: &[Vec<u8>],
    ) -> (Output, Option<Vec<u8>>) {
        let root = std::env::temp_dir().join(format!("peon-payload-{}-{name}", std::process::id()));
        for folder in ["etc/peon", "etc/peon-payload", "peon/task", "dev"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (name, content) in files(from, payload, memory) {
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
        let null = "{\"type\":\"noop\", \"ü\": 1e400, \"id\" : null , \"n\":null}\n".to_owned();
        let spaces = format!("{}{{\"type\":\"noop\"}}", " ".repeat(2_000_000));
        for (at, json) in [small, named, null, spaces, large()].iter().enumerate() {
            let (from, parts) = parts(json);
            let payload = Payload::parse_chunked(json.as_bytes(), "na\"me").unwrap();
            let (output, task) = run(&at.to_string(), &from, &payload, &parts);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let expected = payload.added.as_ref().map_or(json.clone(), |a| {
                [&json[..a.at], &a.text, &json[a.until..]].concat()
            });
            assert!(task.unwrap() == expected.as_bytes(), "case {at}");
            let files = files(&from, &payload, &[]);
            assert!(files.iter().all(|(_, text)| text.len() < 100), "case {at}");
        }
    }

    #[test]
    fn limits_in_bytes_are_put_into_a_payload_in_chunks() {
        let spaces = " ".repeat(1_000_000);
        for (at, json) in [
            r#"{"type":"index","spec":{"tuningConfig":{"maxRowsInMemory":5,"x":"ü"}}}"#.to_owned(),
            r#"{"spec":{"tuningConfig":{"maxBytesInMemory":0,"maxRowsInMemory":5}},"id":null,"type":"index"}"#.to_owned(),
            format!(r#"{{"id":"a","type":"index","spec":{{{spaces}"ioConfig":{{}}}}}}"#),
            r#"{"id":"a","type":"index","spec":{"tuningConfig":{"maxBytesInMemory":-1}}}"#.to_owned(),
        ]
        .iter()
        .enumerate()
        {
            let (from, parts) = parts(json);
            let payload = Payload::parse_chunked(json.as_bytes(), "name").unwrap();
            let memory: Vec<Replacement> = payload
                .memory_edits
                .iter()
                .map(|edit| (edit.range.clone(), edit.text(600)))
                .collect();
            let (output, task) = edited(&format!("edited-{at}"), &from, &payload, &memory, &parts);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let inline = Payload::parse_inline(&json.replace(&spaces, ""), "name").unwrap().json;
            let expected = ingestion_memory::rewrite(&inline, "index", 600).unwrap().unwrap_or(inline);
            let task = String::from_utf8(task.unwrap()).unwrap().replace(&spaces, "");
            assert_eq!(task, expected, "case {at}");
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

    /// What stood in the chunks when the task was accepted may stand there no more.
    #[test]
    fn broken_gzip_and_bombs_are_not_run() {
        let json = large();
        let (from, parts) = parts(&json);
        assert!(from.gzip);
        let payload = Payload::parse_chunked(json.as_bytes(), "name").unwrap();
        let bomb = Command::new("/bin/sh")
            .args(["-c", "head -c 64000000 /dev/zero | gzip -c"])
            .output();
        let half = vec![parts[0][..parts[0].len() / 2].to_vec()];
        let cases = [
            vec![b"no gzip".to_vec()],
            half,
            vec![bomb.unwrap().stdout],
            Vec::new(),
        ];
        for (at, parts) in cases.iter().enumerate() {
            let (output, task) = run(&format!("broken-{at}"), &from, &payload, parts);
            assert_eq!(
                (output.status.code(), task),
                (Some(REFUSED_CODE), None),
                "case {at}"
            );
            assert!(
                String::from_utf8_lossy(&output.stdout).contains(REFUSED),
                "case {at}"
            );
        }
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
