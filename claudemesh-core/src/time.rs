//! Unix milliseconds as text.

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, as the existing system writes times. Years beyond 9999 are written
/// with more digits.
pub fn iso(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The civil date of a day count, by the Gregorian calendar with years that begin in March.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (
        doy - (153 * mp + 2) / 5 + 1,
        if mp < 10 { mp + 3 } else { mp - 9 },
    );
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::iso;

    #[test]
    fn times_are_written() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(1_764_000_000_123), "2025-11-24T16:00:00.123Z");
        assert_eq!(iso(1_835_481_599_999), "2028-02-29T23:59:59.999Z");
    }
}
