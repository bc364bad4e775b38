//! `make generate`: writes the CRDs to `crds/` and to the chart.
use std::path::Path;

fn main() -> anyhow::Result<()> {
    for (name, body) in peon_operator::api::crds::manifests()? {
        for folder in ["crds", "charts/peon-operator/files/crds"] {
            std::fs::create_dir_all(folder)?;
            std::fs::write(Path::new(folder).join(&name), &body)?;
        }
    }
    Ok(())
}
