//! Durations, as users write them and as tables show them (pure).

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Reads `90`, `90s`, `5m`, `1h30m`, `7d`, `1d12h`: seconds where nothing else is said.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is not a duration such as 90s, 5m or 1h30m");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    // Days of 24 hours, which the parser does not know.
    if let Some((days, rest)) = text.split_once('d')
        && let Ok(days) = days.parse::<u32>()
    {
        let rest = if rest.is_empty() {
            Duration::ZERO
        } else {
            parse(rest).map_err(|_| error())?
        };
        return Ok(rest.saturating_add(Duration::from_secs(u64::from(days) * 86_400)));
    }
    let span: SignedDuration = text.parse().map_err(|_| error())?;
    Duration::try_from(span).map_err(|_| error())
}

/// The time between two moments in at most two units, as kubectl shows ages: `8s`, `5m20s`, `3h`, `12d`.
pub(super) fn between(from: Timestamp, to: Timestamp) -> String {
    show(to.duration_since(from).as_secs().max(0))
}

/// Seconds in at most two units.
pub(super) fn show(seconds: i64) -> String {
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{large}{large_unit}")
        } else {
            format!("{large}{large_unit}{small}{small_unit}")
        }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("5m", 300),
            ("1h30m", 5400),
            ("7d", 604_800),
            ("1d12h", 129_600),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "soon", "-5s", "5 parsecs", "d", "1d soon"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_are_kubectls() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (599, "9m59s"),
            (3599, "59m"),
            (10_800, "3h"),
            (14_400 + 60, "4h1m"),
            (100_000, "27h"),
            (200_000, "2d7h"),
            (1_000_000, "11d"),
        ] {
            assert_eq!(show(seconds), text);
        }
        let at = |s| Timestamp::from_second(s).unwrap();
        assert_eq!(between(at(10), at(5)), "0s");
    }
}
