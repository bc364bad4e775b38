//! Options of the peon's JVM: splitting, precedence, sizes and argument files (pure).

/// Splits a string of options at white space, as Druid splits `javaOpts`: quotes hold words together.
///
/// # Errors
/// When a quote is not closed.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is not closed in {text:?}"));
    }
    words.extend(word);
    Ok(words)
}

/// The options in a text: a JSON array of strings, or else words as [`split`] finds them.
///
/// # Errors
/// A list that is not one of strings, or a quote that is not closed.
pub fn in_text(text: &str) -> Result<Vec<String>, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text)
            .map_err(|e| format!("it begins with `[` but is not a JSON array of strings: {e}"));
    }
    split(text)
}

/// The switches that choose a collector. Others that begin with `Use` and end with `GC` do not, such as
/// `UseMaximumCompactionOnSystemGC`.
const COLLECTORS: [&str; 9] = [
    "UseSerialGC",
    "UseParallelGC",
    "UseParallelOldGC",
    "UseConcMarkSweepGC",
    "UseParNewGC",
    "UseG1GC",
    "UseZGC",
    "UseShenandoahGC",
    "UseEpsilonGC",
];
/// Beginning of the switches without which a JVM does not know its diagnostic and experimental options.
const UNLOCK: &str = "-XX:+Unlock";

/// What an option sets, where a later one replaces an earlier one; `None` for options that add up, as
/// `--add-opens` does.
///
/// The collectors share one kind: a JVM that is told to use two of them does not start. So do the ways to give a heap:
/// a JVM ignores the percentage beside a size.
#[must_use]
pub fn kind(option: &str) -> Option<String> {
    if let Some(rest) = option.strip_prefix("-D") {
        return Some(format!("-D{}", rest.split('=').next().unwrap_or(rest)));
    }
    if let Some(rest) = option.strip_prefix("-XX:") {
        let name = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        let name = name.split('=').next().unwrap_or(name);
        if ["MaxHeapSize", "MaxRAMPercentage"].contains(&name) {
            return Some("-Xmx".into());
        }
        if name == "InitialHeapSize" {
            return Some("-Xms".into());
        }
        return Some(if COLLECTORS.contains(&name) && rest.starts_with('+') {
            "-XX:Use*GC".into()
        } else {
            format!("-XX:{name}")
        });
    }
    ["-Xmx", "-Xms", "-Xmn", "-Xss"]
        .into_iter()
        .find(|p| option.starts_with(p))
        .map(str::to_owned)
}

/// Drops every option that a later one of the same kind replaces, and puts those first that unlock others: a JVM reads
/// its options in their order, and does not start with one that is locked.
#[must_use]
pub fn last_of_each_kind<T>(options: Vec<(String, T)>) -> Vec<(String, T)> {
    let mut seen = std::collections::HashSet::new();
    let mut kept: Vec<_> = options
        .into_iter()
        .rev()
        .filter(|(option, _)| kind(option).is_none_or(|k| seen.insert(k)))
        .collect();
    kept.reverse();
    // The sort is stable.
    kept.sort_by_key(|(option, _)| !option.starts_with(UNLOCK));
    kept
}

/// The value of the last option with this prefix. Example: `value(options, "-Xmx")`.
#[must_use]
pub fn value<'a>(options: impl DoubleEndedIterator<Item = &'a str>, prefix: &str) -> Option<&'a str> {
    options.rev().find_map(|o| o.strip_prefix(prefix))
}

/// A JVM memory size in bytes: digits and `k`, `m`, `g` or `t`, each a power of 1,024.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// An argument file for `java @file`: one quoted argument per line, escaped as the launcher's
/// documentation says ("java Command-Line Argument Files").
#[must_use]
pub fn argument_file<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let mut file = String::new();
    for argument in arguments {
        file.push('"');
        for c in argument.chars() {
            match c {
                '"' => file.push_str("\\\""),
                '\\' => file.push_str("\\\\"),
                '\n' => file.push_str("\\n"),
                '\r' => file.push_str("\\r"),
                '\t' => file.push_str("\\t"),
                c => file.push(c),
            }
        }
        file.push_str("\"\n");
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_druid_does() {
        let words = split(r#" -Xmx1g  -Da="b c" -Dd='e "f"' "" "#).unwrap();
        assert_eq!(words, ["-Xmx1g", "-Da=b c", "-Dd=e \"f\"", ""]);
        assert!(split("-Da=\"b").is_err());
    }

    #[test]
    fn the_last_of_a_kind_wins_and_lists_add_up() {
        let options = [
            "-Xmx1g",
            "--add-opens",
            "a",
            "-XX:+UseG1GC",
            "-Dx=1",
            "--add-opens",
            "b",
            "-XX:InitialHeapSize=1m",
            "-XX:MaxRAMPercentage=50",
            "-Xms2m",
            "-XX:MaxHeapSize=3g",
            "-Xmx2g",
            "-XX:+UseSerialGC",
            "-Dx=2",
        ];
        let kept = last_of_each_kind(options.iter().map(|o| ((*o).to_owned(), ())).collect());
        let kept: Vec<_> = kept.iter().map(|(o, ())| o.as_str()).collect();
        assert_eq!(
            kept,
            [
                "--add-opens",
                "a",
                "--add-opens",
                "b",
                "-Xms2m",
                "-Xmx2g",
                "-XX:+UseSerialGC",
                "-Dx=2"
            ]
        );
    }

    fn kept(options: &[&str]) -> Vec<String> {
        let kept = last_of_each_kind(options.iter().map(|o| ((*o).to_owned(), ())).collect());
        kept.into_iter().map(|(option, ())| option).collect()
    }

    #[test]
    fn what_unlocks_options_stands_before_them() {
        let (diagnostic, experimental) = (
            "-XX:+UnlockDiagnosticVMOptions",
            "-XX:+UnlockExperimentalVMOptions",
        );
        assert_eq!(
            kept(&[
                diagnostic,
                "-XX:GCLockerRetryAllocationCount=10",
                "--add-opens",
                "a",
                experimental,
                "-Dx=1",
                diagnostic,
                "-XX:+DebugNonSafepoints",
            ]),
            [
                experimental,
                diagnostic,
                "-XX:GCLockerRetryAllocationCount=10",
                "--add-opens",
                "a",
                "-Dx=1",
                "-XX:+DebugNonSafepoints",
            ]
        );
    }

    #[test]
    fn only_a_collector_replaces_a_collector() {
        let others = [
            "-XX:+UseMaximumCompactionOnSystemGC",
            "-XX:+UseAdaptiveSizePolicyWithSystemGC",
        ];
        assert_eq!(
            kept(&["-XX:+UseParallelGC", others[0], others[1]]),
            ["-XX:+UseParallelGC", others[0], others[1]]
        );
        for collector in COLLECTORS {
            let last = format!("-XX:+{collector}");
            assert_eq!(kept(&["-XX:+UseG1GC", &last]), [last]);
        }
    }

    #[test]
    fn sizes_are_the_jvms() {
        assert_eq!(size("512m"), Some(512 << 20));
        assert_eq!(size("1G"), Some(1 << 30));
        assert_eq!(size("1048576"), Some(1 << 20));
        for bad in ["", "m", "1x", "-1m", "1.5g", "99999999999999999999t"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn argument_files_quote_everything() {
        assert_eq!(
            argument_file(["-Da=b c\\d", "-De=\"f\"\n"]),
            "\"-Da=b c\\\\d\"\n\"-De=\\\"f\\\"\\n\"\n"
        );
    }
}
