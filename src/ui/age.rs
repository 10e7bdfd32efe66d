//! How long ago something was, as kubectl says it.

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A duration in its two largest units, the second one only where it matters.
pub fn age(seconds: i64) -> String {
    let s = seconds.max(0);
    let two = |large: i64, unit: &str, small: i64, part: &str| match s % large / small {
        0 => format!("{}{unit}", s / large),
        rest => format!("{}{unit}{rest}{part}", s / large),
    };
    match s {
        _ if s < 2 * MINUTE => format!("{s}s"),
        _ if s < 10 * MINUTE => two(MINUTE, "m", 1, "s"),
        _ if s < 3 * HOUR => format!("{}m", s / MINUTE),
        _ if s < 8 * HOUR => two(HOUR, "h", MINUTE, "m"),
        _ if s < 2 * DAY => format!("{}h", s / HOUR),
        _ if s < 8 * DAY => two(DAY, "d", HOUR, "h"),
        _ if s < 2 * YEAR => format!("{}d", s / DAY),
        _ if s < 8 * YEAR => two(YEAR, "y", DAY, "d"),
        _ => format!("{}y", s / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (5 * MINUTE + 7, "5m7s"),
            (179 * MINUTE, "179m"),
            (7 * HOUR + 30 * MINUTE, "7h30m"),
            (47 * HOUR, "47h"),
            (5 * DAY + 3 * HOUR, "5d3h"),
            (729 * DAY, "729d"),
            (3 * YEAR + DAY, "3y1d"),
            (9 * YEAR + DAY, "9y"),
        ] {
            assert_eq!(age(seconds), expected, "{seconds}");
        }
    }
}
