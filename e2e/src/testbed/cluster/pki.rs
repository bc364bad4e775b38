//! The cluster's certificate authority, certificates and kubeconfigs; new ones for every cluster.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::layout::{KUBERNETES_SERVICE_IP, Layout, NODE_IP};
use crate::testbed::cache;

/// Names and groups of the clients that get a certificate: file, user, group.
const CLIENTS: &[(&str, &str, &str)] = &[
    ("admin", "admin", "system:masters"),
    ("apiserver-to-kubelet", "apiserver-to-kubelet", "system:masters"),
    ("kube-controller-manager", "system:kube-controller-manager", ""),
    ("kube-scheduler", "system:kube-scheduler", ""),
    ("kube-proxy", "system:kube-proxy", ""),
];

/// Writes everything: `pki/*.crt`, `pki/*.key`, `pki/*.kubeconfig` and the admin's `kubeconfig`.
pub(super) fn write_all(layout: &Layout) -> Result<()> {
    let folder = layout.path("pki");
    fs::create_dir_all(&folder).context("cannot create the folder of the certificates")?;
    let key = KeyPair::generate().context("cannot make a key")?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "peon-e2e");
    let authority = params
        .self_signed(&key)
        .context("cannot make the certificate authority")?;
    cache::write(&folder.join("ca.crt"), authority.pem())?;
    let issuer = Issuer::new(params, key);

    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localhost",
    ];
    serving(
        &issuer,
        &folder,
        "apiserver",
        &names,
        &[NODE_IP, KUBERNETES_SERVICE_IP, "127.0.0.1"],
    )?;
    for (file, user, group) in CLIENTS {
        client(&issuer, &folder, file, user, group, &authority.pem())?;
    }
    for node in layout.nodes() {
        let serves = format!("kubelet-serving-{}", node.name);
        serving(&issuer, &folder, &serves, &[node.name], &[node.ip])?;
        let (file, user) = (
            format!("kubelet-{}", node.name),
            format!("system:node:{}", node.name),
        );
        client(&issuer, &folder, &file, &user, "system:nodes", &authority.pem())?;
    }
    fs::copy(folder.join("admin.kubeconfig"), layout.kubeconfig())
        .context("cannot write the admin's kubeconfig")?;

    let service_accounts = KeyPair::generate().context("cannot make a key")?;
    write_private(
        &folder.join("service-accounts.key"),
        &service_accounts.serialize_pem(),
    )?;
    cache::write(
        &folder.join("service-accounts.pub"),
        service_accounts.public_key_pem(),
    )
}

fn serving(
    issuer: &Issuer<'_, KeyPair>,
    folder: &Path,
    file: &str,
    names: &[&str],
    addresses: &[&str],
) -> Result<()> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).context("not a DNS name")?;
    for address in addresses {
        params
            .subject_alt_names
            .push(SanType::IpAddress(address.parse().context("not an address")?));
    }
    params.distinguished_name.push(DnType::CommonName, file);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(issuer, folder, file, params)
}

/// A client's certificate, and a kubeconfig with it.
fn client(
    issuer: &Issuer<'_, KeyPair>,
    folder: &Path,
    file: &str,
    user: &str,
    group: &str,
    authority: &str,
) -> Result<()> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, user);
    if !group.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(issuer, folder, file, params)?;
    let kubeconfig = kubeconfig(folder, file, authority)?;
    write_private(&folder.join(format!("{file}.kubeconfig")), &kubeconfig)
}

fn sign(
    issuer: &Issuer<'_, KeyPair>,
    folder: &Path,
    file: &str,
    mut params: CertificateParams,
) -> Result<()> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().context("cannot make a key")?;
    let certificate = params
        .signed_by(&key, issuer)
        .with_context(|| format!("cannot sign {file}"))?;
    cache::write(&folder.join(format!("{file}.crt")), certificate.pem())?;
    write_private(&folder.join(format!("{file}.key")), &key.serialize_pem())
}

/// A kubeconfig is JSON here, which is YAML too. Certificates are inside, so that the file can be moved.
fn kubeconfig(folder: &Path, client: &str, authority: &str) -> Result<String> {
    let read =
        |end: &str| fs::read_to_string(folder.join(format!("{client}.{end}"))).context("a file just written");
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "peon-e2e",
        "contexts": [{"name": "peon-e2e", "context": {"cluster": "peon-e2e", "user": client}}],
        "clusters": [{"name": "peon-e2e", "cluster": {
            "server": format!("https://{NODE_IP}:6443"),
            "certificate-authority-data": BASE64_STANDARD.encode(authority),
        }}],
        "users": [{"name": client, "user": {
            "client-certificate-data": BASE64_STANDARD.encode(read("crt")?),
            "client-key-data": BASE64_STANDARD.encode(read("key")?),
        }}],
    });
    serde_json::to_string_pretty(&config).context("cannot write JSON")
}

fn write_private(path: &Path, content: &str) -> Result<()> {
    cache::write(path, content)?;
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, private).with_context(|| format!("cannot protect {}", path.display()))
}
