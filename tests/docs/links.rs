//! Every link leads to a file that exists, and every anchor to a heading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::pages::{Page, all, root};

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    let link = Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap();
    let text = link.replace_all(heading, "$1").to_lowercase();
    text.trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(page: &Page) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (_, line) in &page.prose {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug = slug(heading);
        let earlier = found.iter().filter(|f| **f == slug).count();
        found.push(if earlier == 0 {
            slug
        } else {
            format!("{slug}-{earlier}")
        });
    }
    found
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn links_and_anchors_lead_somewhere() {
    let pages = all();
    let known: BTreeMap<&Path, Vec<String>> = pages.iter().map(|p| (p.path.as_path(), anchors(p))).collect();
    let code = Regex::new("`[^`]*`").unwrap();
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let mut broken = Vec::new();
    let mut count = 0;
    for page in &pages {
        // A link may begin on one line and end on the next.
        let lines: Vec<&str> = page.prose.iter().map(|(_, line)| line.as_str()).collect();
        let text = lines.join("\n");
        let text = code.replace_all(&text, "x");
        for found in link.captures_iter(&text) {
            let target = &found[1];
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                page.path.clone()
            } else {
                normal(&page.path.parent().unwrap().join(file))
            };
            if !root().join(&path).exists() {
                broken.push(format!(
                    "{}: {target}: there is no such file",
                    page.path.display()
                ));
            } else if !anchor.is_empty()
                && !known
                    .get(path.as_path())
                    .is_some_and(|a| a.iter().any(|x| x == anchor))
            {
                broken.push(format!(
                    "{}: {target}: there is no such heading",
                    page.path.display()
                ));
            }
        }
    }
    assert!(count > 100, "only {count} links were found");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_index() {
    let index = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    for page in all() {
        let Ok(name) = page.path.strip_prefix("docs") else {
            continue;
        };
        if name.components().count() > 1 || name == Path::new("README.md") {
            continue;
        }
        let link = format!("]({})", name.display());
        assert!(
            index.contains(&link),
            "{} is not in docs/README.md",
            name.display()
        );
    }
}
