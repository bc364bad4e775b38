//! Tests that a page names as evidence exist.

use std::fs;
use std::path::Path;

use regex::Regex;

use crate::pages::{all, root};

fn collect(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn tests_that_are_named_exist() {
    let mut code = String::new();
    for folder in ["src", "tests", "e2e"] {
        collect(&root().join(folder), &mut code);
    }
    // Names of tests are sentences.
    let name = Regex::new(r"^(?:[a-z_]+::)*([a-z0-9]+(?:_[a-z0-9]+){3,})$").unwrap();
    let mut count = 0;
    for page in all().iter().filter(|p| p.path.starts_with("docs")) {
        for (at, inline) in page.inline_code() {
            let Some(found) = name
                .captures(&inline)
                .filter(|f| !f[1].starts_with("peon_operator_"))
            else {
                continue;
            };
            count += 1;
            let is_there = code.contains(&format!("fn {}(", &found[1]))
                || code.contains(&format!("::{}\"", &found[1]))
                || code.contains(&format!("\"{}\"", &found[1]));
            assert!(
                is_there,
                "{}:{at}: there is no test {inline}",
                page.path.display()
            );
        }
    }
    assert!(count > 50, "only {count}");
}
