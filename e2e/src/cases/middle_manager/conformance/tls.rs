//! Workers that speak TLS, to Druid's own client, which looks whose certificate it is; and a certificate that is renewed.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;

use super::{
    Client, IDENTITIES, NAME, PASSWORD, Process, Registry, USER, Workers, cluster, heard, runs::ids,
};
use crate::testbed::{
    druid::hrtr::Tls,
    fixture::{Fixture, LIMIT},
    images::Classes,
    wait::wait_until,
};

/// Name of the Secret with the certificate.
const SECRET: &str = "certificate";
/// Tasks that are run with each certificate.
const TASKS: usize = 5;

pub(super) fn all(fixture: &Fixture) -> Result<()> {
    let folder = cluster(fixture)?.scratch("hrtr-tls")?;
    let [first, renewed, hosts] = ["first.crt", "renewed.crt", "hosts"].map(|name| folder.join(name));
    let workers = Workers::start_with(fixture, |workers, spec| {
        certify(workers, &first)?;
        spec["tlsRef"] = json!({"name": SECRET});
        // A certificate is of a name.
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("advertise");
        }
        Ok(())
    })?;
    name_hosts(&workers, &hosts)?;
    runs(&workers, &first, &hosts, "first")?;
    let process = Process::server_in(fixture, &workers.namespace);
    let before = process.until_there()?;
    certify(&workers, &renewed)?;
    // A worker that an overlord cannot reach when it begins keeps it for minutes, also from others.
    wait_until(LIMIT, "a process with the renewed certificate", || {
        Ok(process.id()?.filter(|id| *id != before))
    })?;
    runs(&workers, &renewed, &hosts, "renewed")
}

fn host(workers: &Workers, ordinal: usize) -> String {
    format!("{NAME}-vmm-{ordinal}.{}.svc", workers.namespace)
}

/// Makes a new certificate for all workers, for them and in a file for whoever is to trust it.
fn certify(workers: &Workers, file: &Path) -> Result<()> {
    let hosts: Vec<_> = (0..IDENTITIES).map(|ordinal| host(workers, ordinal)).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(hosts).context("no certificate")?;
    fs::write(file, cert.pem())?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": cert.pem(), "tls.key": signing_key.serialize_pem()},
    });
    workers.fixture.apply(&workers.namespace, &secret)
}

/// Names the hosts of the workers, and this machine.
fn name_hosts(workers: &Workers, file: &Path) -> Result<()> {
    let mut lines = vec!["127.0.0.1 localhost".to_owned()];
    for ordinal in 0..IDENTITIES {
        let address = workers.address(ordinal)?;
        lines.push(format!("{address} {}", host(workers, ordinal)));
    }
    fs::write(file, lines.join("\n") + "\n").context("hosts")
}

/// An overlord that trusts this certificate and no other runs tasks.
fn runs(workers: &Workers, trusted: &Path, hosts: &Path, name: &str) -> Result<()> {
    let (fixture, tls) = (workers.fixture, Tls { trusted, hosts });
    let registry = Registry::ZooKeeper(fixture.druid.zookeeper());
    let mut client = Client::start(
        Classes::Tested,
        cluster(fixture)?,
        registry,
        (USER, PASSWORD),
        Some(&tls),
    )?;
    let found = client.lead(name, &workers.base, 1, IDENTITIES)?;
    let mut expected: Vec<_> = (0..IDENTITIES)
        .map(|ordinal| format!("{}:8291", host(workers, ordinal)))
        .collect();
    expected.sort();
    ensure!(found == expected, "{found:?}");
    let prefix = format!("{name}_{}_", fixture.run);
    client.run(name, &prefix, TASKS, &json!({}))?;
    heard::until_succeeded(&mut client, &[name], &ids(&prefix, TASKS))
}
