//! The modules of the library, read as text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// A group of imports, as in `crate::a::{b, c}`.
static GROUP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(crate|super|self)((?:::\w+)*)::\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}").unwrap()
});
/// A path, as in `crate::a::b`.
static SINGLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b(crate|super|self)((?:::\w+)+)").unwrap());

pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// A module of the library: its path below `src`, and its code without comments and tests.
pub struct Module {
    pub file: String,
    pub code: String,
    pub is_test: bool,
}

impl Module {
    pub fn new(file: &str, text: &str) -> Self {
        let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code = code.split("\n#[cfg(test)]\n#[path").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let stem = Path::new(file)
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let is_test = stem.ends_with("tests")
            || ["fixtures", "world", "model_api", "object_fixtures"].contains(&stem.as_str())
            || file.starts_with("simulation/");
        Self {
            file: file.to_owned(),
            code: lines.collect::<Vec<_>>().join("\n"),
            is_test,
        }
    }

    /// Its path as a module: `task/plan/mod.rs` is `[task, plan]`.
    pub fn path(&self) -> Vec<&str> {
        let stem = self.file.trim_end_matches(".rs");
        stem.trim_end_matches("/mod").split('/').collect()
    }

    pub fn room(&self) -> &str {
        self.file.split(['/', '.']).next().unwrap_or_default()
    }

    /// What it imports of this library: paths of modules and items.
    pub fn imports(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for path in SINGLE.captures_iter(&self.code) {
            found.insert(self.absolute(&path[1], &path[2]));
        }
        for grouped in GROUP.captures_iter(&self.code) {
            let parts = grouped[3]
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            for part in parts {
                let part = part.split(['{', ' ']).next().unwrap_or_default();
                found.insert(self.absolute(&grouped[1], &format!("{}::{part}", &grouped[2])));
            }
        }
        found.remove("");
        found
    }

    fn absolute(&self, root: &str, rest: &str) -> String {
        let mut rest: Vec<&str> = rest.split("::").filter(|segment| !segment.is_empty()).collect();
        let mut base = match root {
            "crate" => Vec::new(),
            _ => self.path(),
        };
        if root == "super" {
            base.pop();
            while rest.first() == Some(&"super") {
                base.pop();
                rest.remove(0);
            }
        }
        base.extend(rest);
        base.join("/")
    }
}

/// The library, without its programs.
pub fn library() -> Vec<Module> {
    let mut modules = Vec::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let file = path.strip_prefix(source()).unwrap().display().to_string();
                modules.push(Module::new(&file, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    modules.retain(|module| module.file != "lib.rs" && !module.file.starts_with("bin/"));
    modules.sort_by(|a, b| a.file.cmp(&b.file));
    assert!(modules.len() > 100, "the library was not found");
    modules
}

/// The module that an imported path names, or is in: the longest that exists.
pub fn imported<'a>(modules: &'a [Module], path: &str) -> Option<&'a Module> {
    let mut path = path;
    loop {
        if let Some(module) = modules.iter().find(|module| module.path().join("/") == path) {
            return Some(module);
        }
        path = path.rsplit_once('/')?.0;
    }
}
