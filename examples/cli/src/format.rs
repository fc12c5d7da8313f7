//! Text for people: times, and what others wrote without what a terminal would obey.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claudemesh_core::time::iso;
use comfy_table::{Table, presets};

/// Whether a terminal would act on this character, or show the line in another order than it is
/// written in. Line ends and tabs are not meant.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

/// Text that somebody else wrote, safe for a terminal: control characters are shown, not obeyed.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) && !matches!(c, '\n' | '\t') {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// As [`clean`], on one line: for names and other short texts.
pub(crate) fn clean_line(text: &str) -> String {
    clean(text).replace('\n', "\\n").replace('\t', " ")
}

/// As [`clean`], each line moved in: no line of a message can pass for the head of another one.
pub(crate) fn indented(text: &str) -> String {
    let clean = clean(text);
    let lines: Vec<String> = clean.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

/// Unix milliseconds of a time.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Now.
pub(crate) fn now_ms() -> u64 {
    unix_ms(SystemTime::now())
}

/// A time as JSON has it: `2026-01-31T12:00:00.000Z`.
pub(crate) fn iso_time(time: SystemTime) -> String {
    iso(unix_ms(time))
}

/// A time for people: `2026-01-31 12:00 UTC`.
pub(crate) fn human_time(ms: u64) -> String {
    let time = i64::try_from(ms).map(jiff::Timestamp::from_millisecond);
    match time {
        Ok(Ok(time)) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        _ => iso(ms),
    }
}

/// How long ago, roughly.
pub(crate) fn ago(ms: u64) -> String {
    let seconds = now_ms().saturating_sub(ms) / 1_000;
    match seconds {
        0..60 => "just now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// How long until then, roughly.
pub(crate) fn until(ms: u64) -> String {
    let seconds = ms.saturating_sub(now_ms()).div_ceil(1_000);
    match seconds {
        0 => "now".to_owned(),
        1..120 => format!("in {seconds} s"),
        120..7_200 => format!("in {} min", seconds / 60),
        7_200..172_800 => format!("in {} h", seconds / 3_600),
        _ => format!("in {} days", seconds / 86_400),
    }
}

/// The beginning of a text, on one line: so many characters at most.
pub(crate) fn short(text: &str, most: usize) -> String {
    let line = clean_line(text);
    if line.chars().count() <= most {
        return line;
    }
    let begin: String = line.chars().take(most.saturating_sub(1)).collect();
    format!("{begin}…")
}

/// A plain table: columns, no lines.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    let text = table.to_string();
    let mut lines: String = text
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    lines.shrink_to_fit();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(
            clean("a\u{1b}[31mb\u{9b}c\td\n"),
            "a\\u{1b}[31mb\\u{9b}c\td\n"
        );
        assert_eq!(clean_line("a\nb\u{202e}c\r"), "a\\nb\\u{202e}c\\u{d}");
        assert_eq!(indented("a\nfrom: b"), "  a\n  from: b");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(short("añb\nc", 6), "añb\\nc");
        assert_eq!(short("añbcd", 4), "añb…");
    }

    #[test]
    fn times_are_told() {
        assert_eq!(human_time(1_764_000_000_123), "2025-11-24 16:00 UTC");
        assert_eq!(ago(now_ms()), "just now");
        assert_eq!(until(now_ms()), "now");
        assert_eq!(until(now_ms() + 3 * 86_400_000 + 5_000), "in 3 days");
    }
}
