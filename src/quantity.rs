//! Kubernetes quantities (pure): <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.

/// Longest quantity in bytes: statuses are to hold it, and zeros before or behind mean nothing.
const LONGEST: usize = 64;

/// One mebibyte.
pub const MIB: u64 = 1 << 20;

/// Value of a quantity in thousandths, rounded up. Suffixes: `n u m`, none, `k M G T P E`, `Ki Mi Gi Ti Pi Ei`,
/// or a decimal exponent.
///
/// # Errors
/// Says what a quantity looks like, or that the value is too large.
pub fn milli(text: &str) -> Result<u128, String> {
    if text.len() > LONGEST {
        return Err(format!(
            "a quantity of {} bytes is too long, at most {LONGEST} are allowed",
            text.len()
        ));
    }
    let error = || format!("{text:?} is not a Kubernetes quantity such as 512Mi, 2G, 500m or 2");
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (number, suffix) = match text.find(['e', 'E']).filter(|at| *at + 1 < text.len()) {
        Some(at) => (&text[..at], &text[at..]),
        None => (number, &text[number.len()..]),
    };
    let (times, per): (u128, u128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (10_u128.pow(15), 1),
        "P" => (10_u128.pow(18), 1),
        "E" => (10_u128.pow(21), 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        "Ei" => (1_000 << 60, 1),
        exponent => match exponent[1..].parse::<i32>().map_err(|_| error())? {
            e @ 0..=18 => (1_000 * 10_u128.pow(e.unsigned_abs()), 1),
            e @ -18..=-1 => (1_000, 10_u128.pow(e.unsigned_abs())),
            _ => return Err(error()),
        },
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
    let whole = whole.strip_prefix('+').unwrap_or(whole);
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return Err(error());
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| error())?);
    let unscaled: u128 = format!("{whole}{fraction}").parse().map_err(|_| error())?;
    let scaled = unscaled
        .checked_mul(times)
        .ok_or_else(|| format!("{text:?} is too large"))?;
    Ok(scaled.div_ceil(scale * per))
}

/// Value of a quantity in whole units (bytes, cores), rounded up.
///
/// # Errors
/// As [`milli`], and when the value does not fit 64 bits.
pub fn parse(text: &str) -> Result<u64, String> {
    u64::try_from(milli(text)?.div_ceil(1_000)).map_err(|_| format!("{text:?} is too large"))
}

/// Bytes for people: `192 MiB`.
#[must_use]
pub fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(MIB))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_suffix() {
        for (text, value) in [
            ("2G", 2_000_000_000),
            ("512Mi", 512 << 20),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("1k", 1000),
            ("512m", 1),
            ("+1", 1),
            (".5Ki", 512),
        ] {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
        assert!(parse("123E").is_err());
        assert_eq!(milli("500m"), Ok(500));
        assert_eq!(milli("0.1"), Ok(100));
        assert_eq!(milli("1e3"), Ok(1_000_000));
        assert_eq!(milli("100u"), Ok(1));
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "", "Gi", "2GiB", "2 G", "-1", "1.2.3", "1e", "1e99", "0x10", "much", "1K", ".", "1E1E",
        ] {
            assert!(milli(text).is_err(), "{text}");
        }
        let long = format!("1e{}3", "0".repeat(100));
        assert!(milli(&long).unwrap_err().contains("103 bytes"));
    }

    #[test]
    fn what_does_not_fit_is_too_large() {
        for text in [
            "999999999999999999E",
            "123456789012345678.123456789012345678Ei",
            "999999999999999999e18",
        ] {
            assert!(milli(text).is_err() || parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in r"[+-]?[0-9]{0,20}\.?[0-9]{0,20}([numkMGTPE]|[KMGTPE]i|[eE]-?[0-9]{0,3}|.)?") {
            let _ = parse(&text);
        }

        #[test]
        fn larger_numbers_are_larger(small in 0_u64..1 << 40, more in 0_u64..1 << 20, suffix in "|k|M|m|Ki|Mi|e2|e-2") {
            let (small, large) = (format!("{small}{suffix}"), format!("{}{suffix}", small + more));
            prop_assert!(milli(&small).unwrap() <= milli(&large).unwrap());
        }
    }
}
