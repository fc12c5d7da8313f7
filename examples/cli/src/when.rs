//! Points in time as people write them. What is written without an offset is UTC, as everything
//! that this program shows; the time of this machine's zone is told beside it.

use std::io::Read as _;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use crate::format::{human_time, now_ms};

/// Bytes of a file about a zone at most.
const ZONE_BYTES: u64 = 1 << 20;

/// Reads `2026-01-31T14:30`, with or without seconds and an offset, or `14:30`: the next time that
/// a clock shows that. Gives unix ms; what is past is refused.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    after(text, now_ms())
}

fn after(text: &str, now: u64) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{text:?} is no time; write 14:30 or 2026-01-31T14:30, in UTC, or with an offset: \
             14:30+02:00"
        )
    };
    // A zone in brackets, or a day alone, would be read as something else than it says.
    if text.contains('[') || !text.contains(':') {
        return Err(wrong());
    }
    let begin = text.as_bytes();
    if begin.get(2) == Some(&b':') {
        return next(text, now).ok_or_else(wrong);
    }
    let at = (text.parse::<Timestamp>().ok()).or_else(|| {
        let civil = text.parse::<civil::DateTime>().ok()?;
        civil.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp())
    });
    let at = at.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    let at = at.ok_or_else(wrong)?;
    if at <= now {
        return Err(format!(
            "{text} is past: it is {} now; times without an offset are UTC",
            human_time(now)
        ));
    }
    Ok(at)
}

/// The next time that a clock of that offset shows this.
fn next(text: &str, now: u64) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != ':');
    let offset = digits.map_or("Z", |_| "");
    let today = Timestamp::from_millisecond(i64::try_from(now).ok()?).ok()?;
    let today = today.to_zoned(TimeZone::UTC).date();
    let mut day = today.yesterday().ok()?;
    for _ in 0..4 {
        let at: Timestamp = format!("{day}T{text}{offset}").parse().ok()?;
        let at = u64::try_from(at.as_millisecond()).ok()?;
        if at > now {
            return Some(at);
        }
        day = day.tomorrow().ok()?;
    }
    None
}

/// A time for people: in UTC, and by this machine's clock if that shows another one.
pub(crate) fn told(ms: u64) -> String {
    let utc = human_time(ms);
    match zone().and_then(|zone| local(ms, zone)) {
        Some(local) => format!("{utc} ({local} here)"),
        None => utc,
    }
}

fn local(ms: u64, zone: TimeZone) -> Option<String> {
    let at = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
    let at = at.to_zoned(zone);
    let differs = at.offset().seconds() != 0;
    differs.then(|| at.strftime("%Y-%m-%d %H:%M %:z").to_string())
}

/// The zone of this machine, as POSIX systems say it; none where that is not known.
fn zone() -> Option<TimeZone> {
    match std::env::var("TZ") {
        Ok(set) => {
            let name = set.strip_prefix(':').unwrap_or(&set);
            let file = Path::new("/usr/share/zoneinfo").join(name);
            zone_file(&file).or_else(|| TimeZone::posix(name).ok())
        }
        Err(_) => zone_file(Path::new("/etc/localtime")),
    }
}

fn zone_file(path: &Path) -> Option<TimeZone> {
    let file = std::fs::File::open(path).ok()?;
    let mut data = Vec::new();
    file.take(ZONE_BYTES).read_to_end(&mut data).ok()?;
    TimeZone::tzif("local", &data).ok()
}

#[cfg(test)]
mod tests {
    use claudemesh_core::time::iso;

    use super::*;

    /// 2025-11-24T16:00:00Z.
    const NOW: u64 = 1_764_000_000_000;

    fn read(text: &str) -> Result<String, String> {
        after(text, NOW).map(iso)
    }

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        for (text, meant) in [
            ("16:30", "2025-11-24T16:30:00.000Z"),
            ("16:00", "2025-11-25T16:00:00.000Z"),
            ("15:59:30", "2025-11-25T15:59:30.000Z"),
            ("16:30Z", "2025-11-24T16:30:00.000Z"),
            ("16:30+02:00", "2025-11-25T14:30:00.000Z"),
            ("08:30-08:00", "2025-11-24T16:30:00.000Z"),
            ("04:30+12:00", "2025-11-24T16:30:00.000Z"),
            ("2026-01-31T14:30", "2026-01-31T14:30:00.000Z"),
            ("2026-01-31 14:30:05", "2026-01-31T14:30:05.000Z"),
            ("2026-01-31T14:30Z", "2026-01-31T14:30:00.000Z"),
            ("2026-01-31T14:30:00+02:00", "2026-01-31T12:30:00.000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(meant), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_past_is_refused() {
        for text in [
            "",
            ":",
            "tomorrow",
            "25:00",
            "12:60",
            "7:30",
            "14:30x",
            "14:30+99:00",
            "2026-01-31",
            "2026-02-30T10:00",
            "2026-01-31T14:30[Europe/Berlin]",
            "12:30+02:00[Europe/Berlin]",
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("14:30"), "{text}: {error}");
        }
        assert!(read("2025-11-24T16:00").unwrap_err().contains("is past"));
        assert!(read("1969-01-01T00:00").is_err());
    }

    #[test]
    fn a_clock_that_shows_something_else_is_told_of() {
        let zone = |text| TimeZone::posix(text).unwrap();
        assert_eq!(
            local(NOW, zone("XYZ-2")).as_deref(),
            Some("2025-11-24 18:00 +02:00")
        );
        assert_eq!(local(NOW, zone("UTC0")), None);
    }
}
