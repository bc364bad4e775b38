//! Sizes in the format of Druid's `HumanReadableBytes` (pure).

/// Bytes of a text: digits and, in either case, `K M G T P` (powers of ten) or `Ki KiB …` (powers of two).
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        "p" => 1_000_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        "pi" | "pib" => 1 << 50,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_druids() {
        for (text, size) in [
            ("100000000", 100_000_000),
            ("500MiB", 500 << 20),
            ("500Mi", 500 << 20),
            ("500mib", 500 << 20),
            ("500m", 500_000_000),
            ("1K", 1000),
            ("1KiB", 1024),
            ("2G", 2_000_000_000),
            ("2g", 2_000_000_000),
        ] {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for bad in [
            "1.5G",
            "-1",
            "1e3",
            "B",
            "",
            "1KB",
            "1i",
            "9999999999999999P",
            "ü",
        ] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
