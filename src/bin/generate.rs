//! `make generate`: writes the CRDs to `crds/` and to the chart, and their reference to `docs/api`.
use std::path::Path;

use peon_operator::api::{crds, reference};

fn main() -> anyhow::Result<()> {
    for (name, body) in crds::manifests()? {
        for folder in ["crds", "charts/peon-operator/files/crds"] {
            write(folder, &name, &body)?;
        }
    }
    for (name, page) in reference::pages() {
        write("docs/api", &name, &page)?;
    }
    Ok(())
}

fn write(folder: &str, name: &str, text: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    Ok(std::fs::write(Path::new(folder).join(name), text)?)
}
