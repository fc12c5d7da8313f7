//! Values as PostgreSQL writes them.

use claudemesh_core::time::parse_iso;

/// `2025-11-24 16:00:00.123456`, with or without a zone of UTC, as unix ms.
pub(super) fn time(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once([' ', 'T'])?;
    let clock = rest.trim_end_matches('Z');
    let clock = clock.strip_suffix("+00:00").unwrap_or(clock);
    let clock = clock.strip_suffix("+00").unwrap_or(clock);
    let clock = match clock.split_once('.') {
        Some((whole, part)) => format!("{whole}.{}", part.get(..3).unwrap_or(part)),
        None => clock.to_owned(),
    };
    // Milliseconds have three digits where they are read.
    let clock = match clock.split_once('.') {
        Some((whole, part)) => format!("{whole}.{part:0<3}"),
        None => format!("{clock}.000"),
    };
    parse_iso(&format!("{date}T{clock}Z"))
}

/// `{infra,"two words",NULL}`.
pub(super) fn array(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut all = Vec::new();
    let mut chars = inner.chars().peekable();
    while chars.peek().is_some() {
        let mut item = String::new();
        let quoted = chars.peek() == Some(&'"');
        if quoted {
            chars.next();
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => item.push(chars.next()?),
                    c => item.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                item.push(c);
            }
        }
        match chars.next() {
            None | Some(',') => {}
            Some(_) => return None,
        }
        if quoted || item != "NULL" {
            all.push(item);
        }
    }
    Some(all)
}

/// A text of at most `most` bytes without control characters, cut at a character.
pub(super) fn short(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.trim().chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > most {
            break;
        }
        out.push(c);
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_postgresql_has() {
        let at = 1_764_000_000_123;
        for text in [
            "2025-11-24 16:00:00.123",
            "2025-11-24 16:00:00.123456",
            "2025-11-24 16:00:00.123+00",
            "2025-11-24T16:00:00.123Z",
        ] {
            assert_eq!(time(text), Some(at), "{text}");
        }
        assert_eq!(time("2025-11-24 16:00:00"), Some(1_764_000_000_000));
        assert_eq!(time("2025-11-24 16:00:00.1"), Some(1_764_000_000_100));
        for text in [
            "",
            "yesterday",
            "2025-11-24",
            "2025-13-24 16:00:00",
            "infinity",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn lists_are_read_with_their_quotes() {
        let list = |text| array(text).unwrap();
        assert_eq!(list("{}"), [""; 0]);
        assert_eq!(list("{infra}"), ["infra"]);
        assert_eq!(
            list("{a,\"b c\",\"q\\\"\\\\,\",NULL,\"NULL\"}"),
            ["a", "b c", "q\"\\,", "NULL"]
        );
        for text in ["", "{", "{\"a}", "{\"a\"b}", "a"] {
            assert_eq!(array(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_made_to_fit() {
        assert_eq!(short(" Ana\u{7}\n ", 64), "Ana");
        assert_eq!(short("éé", 3), "é");
    }
}
