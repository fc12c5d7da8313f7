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

/// Unix milliseconds of a time in the form that [`iso`] writes; none for any other text.
pub fn parse_iso(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-');
    let (clock, ms) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.splitn(3, ':');
    let number = |text: Option<&str>, width: usize| -> Option<u64> {
        let text = text.filter(|text| text.len() == width)?;
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let (year, month, day) = (
        number(date.next(), 4)?,
        number(date.next(), 2)?,
        number(date.next(), 2)?,
    );
    let (hour, minute, second) = (
        number(clock.next(), 2)?,
        number(clock.next(), 2)?,
        number(clock.next(), 2)?,
    );
    let ms = number(Some(ms), ms.len().clamp(1, 3))?;
    let sound = year >= 1970
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !sound {
        return None;
    }
    // Days since 1970 of a day of the Gregorian calendar, counted from March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + ms)
}

#[cfg(test)]
mod tests {
    use super::{iso, parse_iso};

    #[test]
    fn times_are_written() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(1_764_000_000_123), "2025-11-24T16:00:00.123Z");
        assert_eq!(iso(1_835_481_599_999), "2028-02-29T23:59:59.999Z");
    }

    #[test]
    fn times_are_read_as_they_were_written() {
        for ms in [
            0,
            951_782_400_000,
            1_764_000_000_123,
            1_835_481_599_999,
            253_402_300_799_999,
        ] {
            assert_eq!(parse_iso(&iso(ms)), Some(ms));
        }
        assert_eq!(parse_iso("2025-11-24T16:00:00Z"), Some(1_764_000_000_000));
        for text in [
            "",
            "2025-11-24",
            "2025-13-24T16:00:00Z",
            "2025-11-24T16:00:00",
            "x",
            "2025-11-24T16:00:00.1234Z",
        ] {
            assert_eq!(parse_iso(text), None, "{text}");
        }
    }
}
