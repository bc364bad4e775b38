//! The scripts of a release, as far as they need no registry.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::root;

fn script(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(root().join("scripts/release").join(name))
        .args(arguments)
        .env_remove("BASE")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_tag_has_to_be_the_version_of_everything() {
    let version = env!("CARGO_PKG_VERSION");
    for (tag, why) in [
        ("latest", "is not a version"),
        ("1.0.0", "is not a version"),
        ("v99.0.0", "Cargo.toml has version"),
    ] {
        let output = script("version.sh", &[tag], &[]);
        assert!(
            !output.status.success() && said(&output).contains(why),
            "{tag}: {}",
            said(&output)
        );
    }
    let output = script("version.sh", &[&format!("v{version}")], &[]);
    // Before the section of this version is written only that is missing.
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    if changelog.contains(&format!("\n## [{version}]")) {
        assert!(output.status.success(), "{}", said(&output));
    } else {
        assert!(
            said(&output).contains("CHANGELOG.md has no section"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn the_manifest_for_krew_has_the_archives_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let none = script("krew.sh", &["v1.2.3", &path], &[]);
    assert!(
        !none.status.success() && said(&none).contains("binaries.sh"),
        "{}",
        said(&none)
    );
    for arch in ["amd64", "arm64"] {
        fs::write(
            folder.path().join(format!("kubectl-peon-linux-{arch}.tar.gz")),
            arch,
        )
        .unwrap();
    }
    let output = script("krew.sh", &["v1.2.3", &path], &[]);
    assert!(output.status.success(), "{}", said(&output));
    let manifest: Value = serde_yaml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!(manifest["spec"]["version"], "v1.2.3");
    let platforms = manifest["spec"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 2);
    for platform in platforms {
        assert_eq!(platform["sha256"].as_str().unwrap().len(), 64);
        assert!(
            platform["uri"]
                .as_str()
                .unwrap()
                .contains("/download/v1.2.3/kubectl-peon-linux-")
        );
        assert_eq!(platform["bin"], "kubectl-peon");
    }
}

#[test]
fn the_list_of_contents_has_every_library_with_its_license() {
    let output = script("sbom.sh", &[], &[("CARGO_NET_OFFLINE", "true")]);
    assert!(output.status.success(), "{}", said(&output));
    let sbom: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&sbom["bomFormat"], &sbom["specVersion"]),
        (&"CycloneDX".into(), &"1.5".into())
    );
    assert_eq!(
        sbom["metadata"]["component"]["version"],
        env!("CARGO_PKG_VERSION")
    );
    let components = sbom["components"].as_array().unwrap();
    assert!(components.len() > 100, "{}", components.len());
    let has = |name: &str| components.iter().any(|c| c["name"] == name);
    assert!(has("kube") && has("object_store") && has("rustls"));
    assert!(
        !has("proptest") && !has("rcgen") && !has("e2e"),
        "tests are not compiled in"
    );
    for component in components {
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    }
}

#[test]
fn an_image_is_built_on_a_base_that_cannot_change() {
    let arguments = ["ghcr.io/peon-operator/peon-operator", "1.2.3", "abc"];
    let tag = ("BASE", "gcr.io/distroless/cc-debian12:nonroot");
    let output = script("image.sh", &arguments, &[tag]);
    assert!(
        !output.status.success() && said(&output).contains("by digest"),
        "{}",
        said(&output)
    );
    let digest = format!("gcr.io/distroless/cc-debian12@sha256:{}", "0a".repeat(32));
    let output = script("image.sh", &arguments, &[("BASE", &digest), ("DRY_RUN", "1")]);
    assert!(output.status.success(), "{}", said(&output));
    let command = String::from_utf8(output.stdout).unwrap();
    for label in [
        "source",
        "version=1.2.3",
        "revision=abc",
        "licenses=Apache-2.0",
        "base.digest=sha256:",
    ] {
        assert!(
            command.contains(&format!("org.opencontainers.image.{label}")),
            "{label}: {command}"
        );
    }
    assert!(command.contains("rewrite-timestamp=true"), "{command}");
}

/// `cargo build` alone leaves the names of folders in the program.
#[test]
fn what_is_released_is_built_by_the_script_that_hides_where() {
    for script in ["binaries.sh", "image.sh", "twice.sh"] {
        let text = fs::read_to_string(root().join("scripts/release").join(script)).unwrap();
        assert!(text.contains("scripts/release/build.sh"), "{script}");
        assert!(!text.contains("cargo build"), "{script}");
    }
    let workflow = fs::read_to_string(root().join(".github/workflows/release.yaml")).unwrap();
    assert!(!workflow.contains("cargo build"));
}

#[test]
fn an_index_needs_an_image_of_each_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let index = || {
        script(
            "index.sh",
            &["registry.example.com/x", "1.2.3", &path],
            &[("DRY_RUN", "1")],
        )
    };
    fs::write(
        folder.path().join("amd64"),
        format!("sha256:{}\n", "0a".repeat(32)),
    )
    .unwrap();
    assert!(said(&index()).contains("arm64 is missing"), "{}", said(&index()));
    fs::write(folder.path().join("arm64"), "latest\n").unwrap();
    assert!(said(&index()).contains("is no digest"), "{}", said(&index()));
    fs::write(
        folder.path().join("arm64"),
        format!("sha256:{}\n", "0b".repeat(32)),
    )
    .unwrap();
    let output = index();
    assert!(output.status.success(), "{}", said(&output));
    let command = String::from_utf8(output.stdout).unwrap();
    assert!(
        command.contains("--tag registry.example.com/x:1.2.3"),
        "{command}"
    );
    assert_eq!(command.matches("@sha256:").count(), 2);
}

#[test]
fn a_signature_is_of_a_digest() {
    let output = script("sign.sh", &["registry.example.com/x:1.2.3", "sbom.json"], &[]);
    assert!(
        !output.status.success() && said(&output).contains("by digest"),
        "{}",
        said(&output)
    );
}
