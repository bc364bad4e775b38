//! The ports on which a peon listens, by the properties that enable them (pure).
//!
//! Druid opens a port without TLS unless `druid.enablePlaintextPort` is false, and one with TLS if `druid.enableTlsPort`
//! is true (`org.apache.druid.server.DruidNode`).

use super::settings::{InvalidSetting, Settings, Source};
use crate::druid::properties::PEON_PORT;

const PLAIN: &str = "druid.enablePlaintextPort";
const TLS: &str = "druid.enableTlsPort";
/// Without it Jetty has no certificate, and Druid does not start.
const KEY_STORE: &str = "druid.server.https.keyStorePath";
const WANTS_CERTIFICATE: &str = "druid.server.https.requireClientCertificate";
/// The port with TLS.
pub const TLS_PORT: &str = "druid.tlsPort";
/// Its value, unless a template gives another one.
pub const PEON_TLS_PORT: u16 = 8300;

/// The ports of a peon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeonPorts {
    /// The port without TLS, if there is one.
    pub plain: Option<u16>,
    /// The port with TLS, if there is one.
    pub tls: Option<u16>,
    /// Whether callers of the port with TLS need a certificate.
    pub wants_certificate: bool,
}

/// What the properties enable; each has Druid's default where it is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enabled {
    /// A port without TLS.
    pub plain: bool,
    /// A port with TLS.
    pub tls: bool,
    /// Whether callers of the port with TLS need a certificate.
    pub wants_certificate: bool,
}

impl Enabled {
    /// Reads the properties. What comes from `propertiesFrom` or from files of the image cannot be seen here.
    ///
    /// # Errors
    /// A property that is no boolean.
    pub fn of(settings: &Settings) -> Result<Self, InvalidSetting> {
        Ok(Self {
            plain: flag(settings, PLAIN, true)?,
            tls: flag(settings, TLS, false)?,
            wants_certificate: flag(settings, WANTS_CERTIFICATE, false)?,
        })
    }
}

fn flag(settings: &Settings, name: &str, default: bool) -> Result<bool, InvalidSetting> {
    let Some((text, source)) = settings.property_with_source(name) else {
        return Ok(default);
    };
    match text.trim() {
        text if text.eq_ignore_ascii_case("true") => Ok(true),
        text if text.eq_ignore_ascii_case("false") => Ok(false),
        text => Err(InvalidSetting {
            source,
            message: format!("{name} is {text:?}, it must be true or false"),
        }),
    }
}

/// The ports of a peon with these settings.
///
/// # Errors
/// Settings with which nothing could call the peon, or with which it would not start.
pub fn of(settings: &Settings) -> Result<PeonPorts, InvalidSetting> {
    let enabled = Enabled::of(settings)?;
    let source = |name: &str| {
        let given = settings.property_with_source(name);
        given.map_or(Source::Template, |(_, source)| source)
    };
    if !enabled.plain && !enabled.tls {
        return Err(InvalidSetting {
            source: source(PLAIN),
            message: format!(
                "{PLAIN} is false and {TLS} is not true: the peon has no port then; set {TLS} to true, too"
            ),
        });
    }
    let tls = if enabled.tls {
        Some(tls_port(settings)?)
    } else {
        None
    };
    let is_known = settings
        .property(KEY_STORE)
        .is_some_and(|path| !path.trim().is_empty());
    if tls.is_some() && !is_known && !settings.properties_file.is_needed() {
        return Err(InvalidSetting {
            source: source(TLS),
            message: format!(
                "{TLS} is true and {KEY_STORE} is not set: Druid does not start without a key store; set \
                 druid.server.https.*, and mount the key store with the pod template"
            ),
        });
    }
    if enabled.plain && tls == Some(PEON_PORT) {
        return Err(InvalidSetting {
            source: source(TLS_PORT),
            message: format!("{TLS_PORT} is {PEON_PORT}, which is the port without TLS: use another one"),
        });
    }
    Ok(PeonPorts {
        plain: enabled.plain.then_some(PEON_PORT),
        tls,
        wants_certificate: enabled.wants_certificate,
    })
}

fn tls_port(settings: &Settings) -> Result<u16, InvalidSetting> {
    let Some((text, source)) = settings.property_with_source(TLS_PORT) else {
        return Ok(PEON_TLS_PORT);
    };
    let port = text.trim().parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| InvalidSetting {
        source,
        message: format!(
            "{TLS_PORT} is {text:?}, it must be a port from 1 to 65535: others call the peon there"
        ),
    })
}

/// Reads a property of the file that the pod writes. `$1` is a regular expression.
const READ: &str = r#"file_property() {
  sed -n "s/^[[:space:]]*$1[[:space:]]*[=:][[:space:]]*//p" /peon-properties/runtime.properties | sed -n '$p'
}
"#;
const CHECK_PLAIN: &str = r#"case $(file_property 'druid\.enablePlaintextPort') in
  [Ff][Aa][Ll][Ss][Ee]*) refuse_properties "druid.enablePlaintextPort is false in propertiesFrom or in a variable of the cluster, which the operator does not read: put the lines druid.enablePlaintextPort, druid.enableTlsPort and druid.tlsPort into properties of the PeonTemplate, so that the peon is announced with the right port" ;;
esac
"#;
const CHECK_TLS: &str = r#"case $(file_property 'druid\.enableTlsPort') in
  [Tt][Rr][Uu][Ee]*) echo "peon properties: druid.enableTlsPort is true in propertiesFrom or in a variable of the cluster, which the operator does not read: others call this process without TLS; put druid.enableTlsPort into properties of the PeonTemplate" >&2 ;;
esac
"#;

/// The part of the peon's script that compares the properties that only the pod knows with what the operator assumes.
/// It stands behind that of [`super::properties_file`]; empty if there is no such file.
#[must_use]
pub fn script(settings: &Settings) -> String {
    let unknown = |name: &str| settings.property(name).is_none();
    let checks = [(PLAIN, CHECK_PLAIN), (TLS, CHECK_TLS)];
    let checks: Vec<&str> = checks
        .into_iter()
        .filter(|(name, _)| unknown(name) && settings.properties_file.is_needed())
        .map(|(_, check)| check)
        .collect();
    if checks.is_empty() {
        return String::new();
    }
    format!("{READ}{}", checks.concat())
}

#[cfg(test)]
#[path = "peon_ports_tests.rs"]
mod tests;
