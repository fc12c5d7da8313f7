//! Texts that the router writes: times, and what peers say about themselves, cut to size.

use claudemesh_core::wire::SignedBlob;
use serde_json::{Map, Value};

/// Bytes of a session statement, as it travels.
const STATEMENT_BYTES: usize = 2_048;

/// Unix ms as `YYYY-MM-DDTHH:MM:SS.mmmZ`.
pub(super) fn iso(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    // Days to a date, after Howard Hinnant's `civil_from_days`: years begin in March, so that
    // the leap day is their last.
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// At most `max` characters of a text, none of them a control character.
pub(super) fn shown(text: &str, max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max).collect()
}

/// A session statement as it came, unless it is larger than any can be.
pub(super) fn statement(told: Option<&SignedBlob>) -> Option<SignedBlob> {
    let size = |blob: &SignedBlob| {
        blob.e.len() + blob.sig.len() + blob.cosig.as_ref().map_or(0, String::len)
    };
    told.filter(|blob| size(blob) <= STATEMENT_BYTES).cloned()
}

/// Groups as a peer may name them: a list of `{name, role?}` with sane names; the rest is left
/// out.
pub(super) fn groups(value: Option<&Value>) -> Value {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    let groups = list
        .filter_map(|group| {
            let name = group.get("name")?.as_str()?;
            let mut kept = Map::new();
            kept.insert("name".into(), shown(name, 64).into());
            if let Some(role) = group.get("role").and_then(Value::as_str) {
                kept.insert("role".into(), shown(role, 64).into());
            }
            Some(Value::Object(kept))
        })
        .take(32)
        .collect();
    Value::Array(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(iso(1_764_000_000_123), "2025-11-24T16:00:00.123Z");
        assert_eq!(iso(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
    }

    #[test]
    fn groups_are_cleaned() {
        let value = serde_json::json!([null, {"name": 1}, {"name": "a\n", "role": "lead", "x": 1}]);
        let clean = serde_json::json!([{"name": "a", "role": "lead"}]);
        assert_eq!(groups(Some(&value)), clean);
        assert_eq!(groups(None), serde_json::json!([]));
    }
}
