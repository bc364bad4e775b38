//! Commands in the documentation: `kubectl peon` parses them, `make` has their targets, the chart has their values.

use std::fs;

use clap::Parser;
use clap::error::ErrorKind;
use peon_operator::cli::Cli;
use regex::Regex;
use serde_json::Value;

use crate::pages::{all, root};

/// Commands that begin with `program`, wherever they stand: place and words; and whether it is a whole line.
fn commands(program: &str) -> Vec<(String, Vec<String>, bool)> {
    let mut found = Vec::new();
    let split = Regex::new(r"\|\||&&|\||;").unwrap();
    let variables = Regex::new(r"^(?:[A-Z_]+=\S* +)*").unwrap();
    for page in all() {
        let inline = page.inline_code().into_iter().map(|(at, code)| (at, code, false));
        let blocks = page.code.iter().map(|(at, line)| (*at, line.clone(), true));
        for (at, code, whole) in blocks.chain(inline) {
            let code = code.trim_start_matches("$ ").to_owned();
            for part in split.split(&code) {
                let part = variables.replace(part.trim(), "");
                let Some(rest) = part
                    .strip_prefix(program)
                    .filter(|r| r.is_empty() || r.starts_with(' '))
                else {
                    continue;
                };
                found.push((format!("{}:{at}", page.path.display()), words(rest), whole));
            }
        }
    }
    assert!(found.len() > 10, "only {} commands of {program}", found.len());
    found
}

/// Splits a line as a shell does, up to a comment or a redirection.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#' | '>' | '<') if word.is_none() => return words,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn words_are_split_as_a_shell_does() {
    assert_eq!(
        words(r#" a "b c" 'd'e --f=1 # comment"#),
        ["a", "b c", "de", "--f=1"]
    );
    assert_eq!(words("a > file"), ["a"]);
}

#[test]
fn kubectl_peon_parses_its_commands() {
    let mut wrong = Vec::new();
    for (place, words, whole) in commands("kubectl peon") {
        // "kubectl peon COMMAND" stands for any.
        if words.is_empty() || words[0] == "COMMAND" || words[0] == "…" {
            continue;
        }
        let line = [&["kubectl-peon".to_owned()][..], &words].concat();
        match Cli::try_parse_from(&line) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {}
            // Within a sentence the rest may be left out.
            Err(error)
                if !whole
                    && error.kind() != ErrorKind::UnknownArgument
                    && error.kind() != ErrorKind::InvalidSubcommand => {}
            Err(error) => wrong.push(format!("{place}: {}: {error}", words.join(" "))),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn make_has_the_targets() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let targets: Vec<&str> = makefile
        .lines()
        .filter_map(|l| l.strip_prefix(".PHONY: "))
        .collect();
    for (place, words, _) in commands("make") {
        for word in words
            .iter()
            .take_while(|w| w.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        {
            // In a list of targets what follows is a description.
            assert!(
                targets.contains(&word.as_str()) || words[0] != *word,
                "{place}: make {word}: there is no such target"
            );
        }
    }
}

/// The paths of the values that a helm command sets.
fn set_values(words: &[String]) -> Vec<String> {
    let mut paths = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (flag, given) = word
            .split_once('=')
            .map_or((word.as_str(), None), |(f, v)| (f, Some(v.to_owned())));
        if !["--set", "--set-file", "--set-json", "--set-string"].contains(&flag) {
            continue;
        }
        let Some(value) = given.or_else(|| words.next().cloned()) else {
            continue;
        };
        let items: Vec<&str> = if flag == "--set" {
            value.split(',').collect()
        } else {
            vec![&value]
        };
        paths.extend(items.iter().filter_map(|i| Some(i.split_once('=')?.0.to_owned())));
    }
    paths
}

fn is_value(schema: &Value, path: &str) -> bool {
    let mut schema = schema;
    for part in path.split('.') {
        let open = schema["additionalProperties"] != false;
        let next = &schema["properties"][part];
        if next.is_null() {
            return open;
        }
        schema = next;
    }
    true
}

#[test]
fn the_chart_has_the_values() {
    let schema = fs::read_to_string(root().join("charts/peon-operator/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert!(is_value(&schema, "logs.followers") && !is_value(&schema, "logs.follower"));
    let known = [
        "install",
        "upgrade",
        "uninstall",
        "test",
        "rollback",
        "template",
        "get",
    ];
    let mut set = 0;
    for (place, words, _) in commands("helm") {
        let Some(command) = words.first() else { continue };
        assert!(known.contains(&command.as_str()), "{place}: helm {command}");
        for path in set_values(&words) {
            set += 1;
            assert!(is_value(&schema, &path), "{place}: the chart has no value {path}");
        }
    }
    assert!(set > 9, "only {set} values");
}

/// Values that are named in prose, as `a.b=c`: those that begin like a group of the chart's.
#[test]
fn values_in_sentences_exist() {
    let schema = fs::read_to_string(root().join("charts/peon-operator/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let value = Regex::new(r"^([a-z][A-Za-z]*(?:\.[A-Za-z]+)+)=\S*$").unwrap();
    let mut count = 0;
    // The pages of the tests name settings of other programs.
    for page in all().iter().filter(|p| !p.path.starts_with("e2e")) {
        for (at, code) in page.inline_code() {
            let Some(found) = value.captures(&code) else {
                continue;
            };
            let group = found[1].split('.').next().unwrap();
            if schema["properties"][group].is_object() {
                count += 1;
                assert!(
                    is_value(&schema, &found[1]),
                    "{}:{at}: {code}",
                    page.path.display()
                );
            }
        }
    }
    assert!(count > 5, "only {count}");
}
