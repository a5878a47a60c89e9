//! Numbers as people read them.

use std::fmt::Display;

/// `350` → `5m50s`. The two largest units say enough.
pub(super) fn duration(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, 'd'),
        (seconds / 3_600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let first = units.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    units[first..]
        .iter()
        .take(2)
        .enumerate()
        .filter(|(place, (n, _))| *place == 0 || *n > 0)
        .map(|(_, (n, unit))| format!("{n}{unit}"))
        .collect()
}

/// Tenths below ten seconds, where they matter.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        format!("{:.1}s", seconds.max(0.0))
    } else {
        // Saturates; an age is far from 2^64 s.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and the value is at least ten"
        )]
        let whole = seconds as u64;
        duration(whole)
    }
}

/// `1536` → `1.5 KiB`.
pub(super) fn bytes(bytes: u64) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "two digits are shown; a double has fifteen"
    )]
    let mut size = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if size < 1023.95 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// `12345` → `12,345`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 flow`, `2 flows`.
pub(super) fn counted(n: u64, thing: impl Display) -> String {
    format!("{} {thing}{}", count(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        for (n, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (350, "5m50s"),
            (3_600, "1h"),
            (3_661, "1h1m"),
            (3_605, "1h"),
            (90_000, "1d1h"),
            (u64::MAX, "213503982334601d7h"),
        ] {
            assert_eq!(duration(n), text, "{n}");
        }
        assert_eq!(seconds(0.04), "0.0s");
        assert_eq!(seconds(9.94), "9.9s");
        assert_eq!(seconds(75.2), "1m15s");
        assert_eq!(seconds(f64::NAN), "0s");
    }

    #[test]
    fn sizes_and_counts() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "flow"), "1 flow");
        assert_eq!(counted(0, "flow"), "0 flows");
    }
}
