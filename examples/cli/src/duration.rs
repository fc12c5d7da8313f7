//! Lengths of time as people write them.

use std::time::Duration;

/// Reads `500ms`, `10s`, `5m`, `12h` or `7d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no length of time; write 500ms, 10s, 5m, 12h or 7d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let ms = number.checked_mul(factor).ok_or_else(wrong)?;
    // Ten years are more than any command waits for, and keep all sums far from their bounds.
    if ms > 3_650 * 86_400_000 {
        return Err(format!("{text} is too long"));
    }
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_needed() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("7d"), Ok(Duration::from_secs(604_800)));
        for bad in [
            "",
            "7",
            "d",
            "-1s",
            "1.5h",
            "99999999999999999999s",
            "9999999d",
            "1 s",
        ] {
            parse(bad).unwrap_err();
        }
    }
}
