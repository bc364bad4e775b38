//! Which JVM options and Druid properties a task may give itself (pure).
//!
//! Users who may create tasks are trusted less than those who write the template, whose Secrets the peon has. So a task
//! must not give options that read a file into an option or a message
//! (`-XX:VMOptionsFile=/peon-properties/runtime.properties` prints the file into the log), load code, run a command,
//! write a file outside of the pod's scratch space, open a port, or print transmitted data.
//!
//! Options that are not known to be harmless are refused: the lists are those of Java 17, 21 and 25 (`java -X`,
//! `java --help`, `-XX:+PrintFlagsFinal` with the diagnostic and experimental options unlocked), and a later Java may
//! have more. `-XX` options with text values are those that name files and commands; the few harmless ones among them
//! are listed here. For properties it is the other way round: names are arbitrary, so the harmful families are listed.

mod lists;

use lists::{
    CONTROL, FILES, HARMLESS, HARMLESS_BEGINNINGS, JAVAS, JAVAS_OWN, LOADS, LOG_MANAGER, MODULES, NO_OPTION,
    NO_VALUE, NOT_SIZING, OF_JAVA, OPTIONS, PROPERTIES, READS, RESOLVES, SIZES, SIZING_PROPERTIES,
    SIZING_SWITCHES, SWITCHES, TEXTS, UNKNOWN, WORDS, WRITES,
};

/// What a task may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What does no harm.
    Harmless,
    /// Of that, what sizes the JVM and its buffers.
    Sizing,
}

/// An option that a task may not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name, without the value, which may be a secret.
    pub name: String,
    /// What it does, or what it is not: the rest of a sentence that begins with the name.
    pub why: &'static str,
}

/// The first of these options that a task may not give. Each is one argument of Java, as it stands in an argument file;
/// they are those of one source, in their order.
#[must_use]
pub fn first_refused<'a>(options: impl IntoIterator<Item = &'a str>, scope: Scope) -> Option<Refused> {
    let mut waiting: Option<&str> = None;
    for option in options {
        let why = match waiting.take() {
            Some(_) if module_value(option) => None,
            Some(name) => return Some(refused(name, NO_VALUE)),
            None if MODULES.contains(&option) => {
                waiting = Some(option);
                (scope == Scope::Sizing).then_some(NOT_SIZING)
            }
            None => why_refused(option, scope),
        };
        if let Some(why) = why {
            return Some(refused(option, why));
        }
    }
    waiting.map(|name| refused(name, NO_VALUE))
}

/// As much of the option as is its name: what is behind it may be a secret. At most 100 characters.
pub(super) fn refused(option: &str, why: &'static str) -> Refused {
    let head = if option.starts_with('-') {
        let end = option.find('=');
        let colon = option.strip_prefix("-XX:").map_or_else(
            || option.find(':'),
            |rest| rest.find(':').map(|at| at + "-XX:".len()),
        );
        let ends = [end, colon.filter(|_| !option.starts_with("-D"))];
        let end = ends.into_iter().flatten().min().unwrap_or(option.len());
        &option[..end]
    } else {
        option
    };
    let name: String = head
        .chars()
        .take(100)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    Refused { name, why }
}

fn why_refused(option: &str, scope: Scope) -> Option<&'static str> {
    if option.chars().any(char::is_control) {
        return Some(CONTROL);
    }
    if !option.starts_with('-') {
        return Some(if option.starts_with('@') { READS } else { NO_OPTION });
    }
    if let Some(definition) = option.strip_prefix("-D") {
        return property(definition, scope);
    }
    if SIZES.iter().any(|size| option.starts_with(size)) {
        return None;
    }
    let harmless = match option.strip_prefix("-XX:") {
        Some(rest) => advanced(rest, scope),
        None => plain(option, scope),
    };
    let why = harmless.err()?;
    if why == NOT_SIZING {
        return Some(why);
    }
    let lower = option.to_ascii_lowercase();
    // A short option such as -p is the whole of it: -prop is none of Java's.
    let is = |name: &str| match name {
        "-p" | "-m" | "-d" | "-cp" => lower == name,
        _ => lower.starts_with(name),
    };
    let known = OPTIONS.iter().find(|(name, _)| is(name));
    let two = why == UNKNOWN && option.contains(char::is_whitespace);
    let why = if two { NO_OPTION } else { why };
    Some(known.map_or(why, |(_, why)| why))
}

/// Everything that is no `-XX` and no `-D`.
fn plain(option: &str, scope: Scope) -> Result<(), &'static str> {
    let after = |prefix: &str| option.strip_prefix(prefix);
    if option == "-server" {
        return Ok(());
    }
    let module = MODULES.iter().find_map(|m| after(m)?.strip_prefix('='));
    let harmless = HARMLESS.contains(&option)
        || ["-ea", "-da", "-enableassertions", "-disableassertions"].contains(&option)
        || HARMLESS_BEGINNINGS.iter().find_map(|p| after(p)).is_some()
        || module.is_some_and(module_value);
    if let Some(log) = option.strip_prefix("-Xlog") {
        logs_to_a_stream(log)?;
    } else if !harmless {
        return Err(UNKNOWN);
    }
    match scope {
        Scope::Harmless => Ok(()),
        Scope::Sizing => Err(NOT_SIZING),
    }
}

/// What follows `-XX:`.
fn advanced(rest: &str, scope: Scope) -> Result<(), &'static str> {
    let sizing = |is: bool| match (scope, is) {
        (Scope::Sizing, false) => Err(NOT_SIZING),
        _ => Ok(()),
    };
    if let Some(switch) = rest.strip_prefix(['+', '-']) {
        let lower = switch.to_ascii_lowercase();
        if !switch.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(UNKNOWN);
        }
        if lower.contains("jvmci") {
            return Err(LOADS);
        }
        let listed = SWITCHES.iter().find(|(name, _)| *name == lower);
        // What is refused may always be switched off.
        if let Some((_, why)) = listed.filter(|_| rest.starts_with('+')) {
            return Err(why);
        }
        return sizing(switch.starts_with("Use") || SIZING_SWITCHES.contains(&switch));
    }
    let Some((name, value)) = rest.split_once('=') else {
        return Err(UNKNOWN);
    };
    // Java also takes text behind a colon: `OnError:=…`, `StartFlightRecording:filename=…`.
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(UNKNOWN);
    }
    // A file or a command may be called by a number.
    if is_number(value) && !TEXTS.contains(&name) && !name.ends_with("File") {
        return sizing(true);
    }
    let word = || {
        !value.is_empty()
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if WORDS.contains(&name) && word() {
        return sizing(false);
    }
    if !FILES.contains(&name) {
        return Err(UNKNOWN);
    }
    if is_scratch(value) {
        sizing(false)
    } else {
        Err(WRITES)
    }
}

/// `-Xlog[:what[:output[:…]]]`, where the output is one of the container's.
fn logs_to_a_stream(rest: &str) -> Result<(), &'static str> {
    let mut parts = rest.split(':');
    if parts.next() != Some("") {
        // -Xloggc:<file>
        return Err(WRITES);
    }
    match parts.nth(1) {
        None | Some("" | "stdout" | "stderr") => Ok(()),
        Some(output) => {
            let path = output.strip_prefix("file=").unwrap_or(output);
            is_scratch(path).then_some(()).ok_or(WRITES)
        }
    }
}

/// A number as Java reads it for one of its options, with a unit or not.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let digits = text
        .strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', 't', 'T'])
        .unwrap_or(text);
    digits.bytes().any(|b| b.is_ascii_digit()) && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// A file, or a directory for one, of which nothing but this pod's own JVM reads anything.
fn is_scratch(path: &str) -> bool {
    let inside = ["/tmp", "/peon/tmp"].iter().any(|dir| {
        path.strip_prefix(dir)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-%".contains(&b);
    inside && !path.contains("..") && path.bytes().all(plain)
}

/// Names of modules and packages, as the options about modules take them.
fn module_value(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._/=,-".contains(&b);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(plain)
}

/// What follows `-D`.
fn property(definition: &str, scope: Scope) -> Option<&'static str> {
    let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
    let lower = name.to_ascii_lowercase();
    let begins = |prefix: &str| lower.starts_with(prefix) || prefix.strip_suffix('.') == Some(&lower);
    if name.is_empty() {
        return Some(NO_OPTION);
    }
    if definition == LOG_MANAGER {
        return None;
    }
    if let Some((_, why)) = PROPERTIES.iter().find(|(prefix, _)| begins(prefix)) {
        return Some(why);
    }
    if JAVAS.iter().any(|prefix| begins(prefix)) && !OF_JAVA.contains(&name) {
        return Some(JAVAS_OWN);
    }
    if resolves(&lower, value) {
        return Some(RESOLVES);
    }
    let processing = name.starts_with("druid.processing.") && name != "druid.processing.tmpDir";
    let sizing = processing || SIZING_PROPERTIES.contains(&name);
    (scope == Scope::Sizing && !sizing).then_some(NOT_SIZING)
}

/// Druid replaces `${env:…}`, `${file:…}` and `${sys:…}` in values, and takes an object, or properties with a further
/// name, for a password or configuration provider such as `environment` (`org.apache.druid.guice.JsonConfigurator`,
/// `org.apache.druid.metadata.PasswordProvider`).
fn resolves(name: &str, value: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    value.contains("${")
        || value.trim_start().starts_with('{')
        || (name.starts_with("druid.")
            && (["variable", "variables"].contains(&last)
                || (last == "type"
                    && ["environment", "mapstring"].contains(&value.trim().to_ascii_lowercase().as_str()))))
}

#[cfg(test)]
#[path = "task_options_tests.rs"]
mod tests;
