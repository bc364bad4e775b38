//! A directory that operator and overlord share.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{Place, server::Folder};

pub(crate) struct Directory(Folder);

impl Directory {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Folder::new()?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Place for Directory {
    fn properties(&self) -> String {
        let path = self.0.path().display();
        format!("druid.indexer.logs.type=file\ndruid.indexer.logs.directory={path}\n")
    }

    fn refused(&self) -> Option<(String, &'static str)> {
        None
    }

    fn log(&self, id: &str) -> String {
        format!("{id}.log")
    }

    fn report(&self, id: &str) -> String {
        format!("{id}.report.json")
    }

    fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        read_file(&self.0.path().join(key))
    }

    fn keys(&self) -> Result<Vec<String>> {
        files_below(self.0.path())
    }

    fn keeps(&self) -> Vec<String> {
        let folders = ["", "composed/", "parts/", "staged/", "tasks/"];
        folders.map(|folder| format!(".peon/{folder}in-use")).into()
    }
}

pub(super) fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The paths of all files in a folder, relative to it. Folders that a server removes meanwhile are passed over.
pub(super) fn files_below(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            let below = files_below(&entry.path());
            if below.is_err() && !entry.path().exists() {
                continue;
            }
            found.extend(below?.into_iter().map(|file| format!("{name}/{file}")));
        } else {
            found.push(name);
        }
    }
    Ok(found)
}
