//! The pages, split into prose and code.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A page of the documentation.
pub struct Page {
    /// Where it is, from the root.
    pub path: PathBuf,
    /// Its lines outside of blocks of code, with their numbers.
    pub prose: Vec<(usize, String)>,
    /// Its lines in blocks of code, joined where they are continued.
    pub code: Vec<(usize, String)>,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let mut page = Self {
            path: path.to_owned(),
            prose: Vec::new(),
            code: Vec::new(),
        };
        let mut fenced = false;
        let mut continued = false;
        for (at, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
                continue;
            }
            // The lines of a list are indented, too.
            let trimmed = line.trim_start();
            let is_item = trimmed.starts_with("- ") || trimmed.starts_with("* ");
            let is_code = fenced || (line.starts_with("    ") && !is_item);
            if !is_code {
                page.prose.push((at + 1, line.to_owned()));
                continue;
            }
            let content = line.trim().trim_end_matches('\\').trim().to_owned();
            match page.code.last_mut() {
                Some((_, last)) if continued => *last = format!("{last} {content}"),
                _ => page.code.push((at + 1, content)),
            }
            continued = line.ends_with('\\');
        }
        page
    }

    /// Pieces of code within prose, with their lines.
    pub fn inline_code(&self) -> Vec<(usize, String)> {
        let pieces = |(at, line): &(usize, String)| {
            let at = *at;
            let odd = line.split('`').enumerate().filter(|(number, _)| number % 2 == 1);
            odd.map(|(_, code)| (at, code.trim().to_owned()))
                .collect::<Vec<_>>()
        };
        self.prose.iter().flat_map(pieces).collect()
    }
}

/// All pages that users read.
pub fn all() -> Vec<Page> {
    let mut paths = Vec::new();
    for file in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "charts/peon-operator/README.md",
    ] {
        paths.push(PathBuf::from(file));
    }
    for folder in ["docs", "docs/api", "e2e"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                paths.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}
