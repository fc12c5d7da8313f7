//! Times that come again, in five fields: minute, hour, day of month, month, day of week.
//!
//! A field is `*`, a number, a range `a-b`, any of these with a step `/n`, or a list of them with
//! commas. Days of the week are 0 to 6 from Sunday. A time must fit all five fields, also both
//! kinds of days. All times are UTC. Pure: no clock.

use std::fmt;
use std::str::FromStr;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;
/// The longest text that is read.
const TEXT_BYTES: usize = 256;
/// Days that are looked at for the next time: the longest way between two 29ths of February that
/// fall on a given day of the week is 40 years.
const DAYS: u64 = 366 * 41;

/// A schedule that comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
}

/// The text is no schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CronError(&'static str);

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cron's {}", self.0)
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        if text.len() > TEXT_BYTES {
            return Err(CronError("text is too long"));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(CronError("fields are not five"));
        };
        let field = |text, low, high, what| field(text, low, high).ok_or(CronError(what));
        Ok(Self {
            minutes: field(minute, 0, 59, "minute is not 0 to 59")?,
            hours: field(hour, 0, 23, "hour is not 0 to 23")?,
            days: field(day, 1, 31, "day of month is not 1 to 31")?,
            months: field(month, 1, 12, "month is not 1 to 12")?,
            weekdays: field(weekday, 0, 6, "day of week is not 0 to 6")?,
        })
    }
}

/// The numbers of a field as bits.
fn field(text: &str, low: u32, high: u32) -> Option<u64> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((from, to)) => (number(from)?, number(to)?),
            // `5/10` begins at 5 and goes on to the end.
            None => {
                let from = number(range)?;
                (from, if step.is_some() { high } else { from })
            }
        };
        if from < low || to > high || from > to {
            return None;
        }
        let step = usize::try_from(step.unwrap_or(1)).ok()?;
        for n in (from..=to).step_by(step) {
            bits |= 1 << n;
        }
    }
    Some(bits)
}

fn number(text: &str) -> Option<u32> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

impl Cron {
    /// The first time after `after`, both in unix ms; none: it never comes, as on a 30th of
    /// February.
    pub fn next(&self, after: u64) -> Option<u64> {
        let first = (after / MINUTE_MS).checked_add(1)?.checked_mul(MINUTE_MS)?;
        let (day, rest) = (first / DAY_MS, first % DAY_MS);
        (day..day.checked_add(DAYS)?)
            .filter(|day| self.on(*day))
            .find_map(|it| {
                let from = if it == day { rest / MINUTE_MS } else { 0 };
                let minute = (from..24 * 60).find(|minute| self.at(*minute))?;
                it.checked_mul(DAY_MS)?.checked_add(minute * MINUTE_MS)
            })
    }

    /// The last time in `after < time <= until`, if there is one; the one at `first`, which is a
    /// time of this schedule, if nothing later is.
    pub fn last(&self, first: u64, until: u64) -> u64 {
        let day_of = |at: u64| at / DAY_MS;
        let (mut day, mut to) = (day_of(until), until % DAY_MS / MINUTE_MS);
        while day > day_of(first) || day == day_of(first) && until >= first {
            if self.on(day) {
                let found = (0..=to).rev().find(|minute| self.at(*minute));
                if let Some(minute) = found {
                    return (day * DAY_MS + minute * MINUTE_MS).max(first);
                }
            }
            let Some(before) = day.checked_sub(1) else {
                break;
            };
            (day, to) = (before, 24 * 60 - 1);
        }
        first
    }

    fn at(&self, minute_of_day: u64) -> bool {
        has(self.hours, minute_of_day / 60) && has(self.minutes, minute_of_day % 60)
    }

    fn on(&self, day: u64) -> bool {
        let (month, of_month) = date(day);
        // The first of January 1970 was a Thursday.
        has(self.months, month) && has(self.days, of_month) && has(self.weekdays, (day + 4) % 7)
    }
}

fn has(bits: u64, n: u64) -> bool {
    bits >> n & 1 == 1
}

/// Month and day of month of a day since 1970, after Howard Hinnant's `civil_from_days`.
fn date(days: u64) -> (u64, u64) {
    let z = days + 719_468;
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
    (month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2025-11-24T16:00:00Z, a Monday.
    const MONDAY: u64 = 1_764_000_000_000;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap()
    }

    #[test]
    fn times_come_when_they_should() {
        let minutes = |text, n| cron(text).next(MONDAY).map(|at| (at - MONDAY) / 60_000) == Some(n);
        assert!(minutes("* * * * *", 1));
        assert!(minutes("*/15 * * * *", 15));
        assert!(minutes("5/20 * * * *", 5));
        assert!(minutes("10-20/5,50 17 * * *", 70));
        assert!(minutes("0 16 * * *", 24 * 60));
        assert!(minutes("30 9 * * 1-5", 17 * 60 + 30));
        assert!(minutes("0 0 * * 0", 8 * 60 + 5 * 24 * 60));
        assert!(minutes("0 0 1 * *", 8 * 60 + 6 * 24 * 60));
        // Both kinds of days must fit: the next Friday that is a 13th.
        assert_eq!(cron("0 0 13 * 5").next(MONDAY), Some(1_770_940_800_000));
        // 2028-02-29.
        assert_eq!(cron("0 0 29 2 *").next(MONDAY), Some(1_835_395_200_000));
        assert_eq!(cron("0 0 30 2 *").next(MONDAY), None);
        // Also over 2100, which is no leap year, and for a given day of the week.
        assert!(cron("0 0 29 2 6").next(3_476_000_000_000).is_some());
        assert_eq!(cron("* * * * *").next(u64::MAX), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 0 *",
            "* * * 13 *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "-1 * * * *",
            "1- * * * *",
            "1,,2 * * * *",
            ", * * * *",
            "1/2/3 * * * *",
            "+1 * * * *",
            "1-2-3 * * * *",
            "*-5 * * * *",
            "0001 * * * *",
            "٣ * * * *",
            "MON * * * *",
            "99999999999999999999 * * * *",
        ] {
            assert!(text.parse::<Cron>().is_err(), "{text}");
        }
        assert!(
            format!("{} * * * *", "1,".repeat(200))
                .parse::<Cron>()
                .is_err()
        );
    }

    fn field_text(low: u32, high: u32) -> impl Strategy<Value = (String, Vec<u64>)> {
        let part =
            (low..=high, low..=high, 1..20u32, 0..4u8).prop_map(move |(a, b, step, form)| {
                let (a, b) = (a.min(b), a.max(b));
                let all = |from: u32, to: u32, step: u32| {
                    (from..=to)
                        .filter(|n| (n - from).is_multiple_of(step))
                        .map(u64::from)
                        .collect::<Vec<_>>()
                };
                match form {
                    0 => ("*".to_owned(), all(low, high, 1)),
                    1 => (format!("{a}"), vec![u64::from(a)]),
                    2 => (format!("{a}-{b}"), all(a, b, 1)),
                    _ => (format!("{a}-{b}/{step}"), all(a, b, step)),
                }
            });
        prop::collection::vec(part, 1..4).prop_map(|parts| {
            let texts: Vec<_> = parts.iter().map(|(text, _)| text.clone()).collect();
            let numbers = parts.into_iter().flat_map(|(_, numbers)| numbers).collect();
            (texts.join(","), numbers)
        })
    }

    fn any_cron() -> impl Strategy<Value = (String, [Vec<u64>; 5])> {
        let fields = (
            field_text(0, 59),
            field_text(0, 23),
            field_text(1, 31),
            field_text(1, 12),
            field_text(0, 6),
        );
        fields.prop_map(|(a, b, c, d, e)| {
            let text = format!("{} {} {} {} {}", a.0, b.0, c.0, d.0, e.0);
            (text, [a.1, b.1, c.1, d.1, e.1])
        })
    }

    proptest! {
        #[test]
        fn the_next_time_fits_and_none_before_it_does(
            (text, [minutes, hours, days, months, weekdays]) in any_cron(),
            after in 0..4_102_444_800_000u64,
        ) {
            let cron = cron(&text);
            let fits = |at: u64| {
                let day = at / DAY_MS;
                let (month, of_month) = date(day);
                minutes.contains(&(at / 60_000 % 60))
                    && hours.contains(&(at / 3_600_000 % 24))
                    && days.contains(&of_month)
                    && months.contains(&month)
                    && weekdays.contains(&((day + 4) % 7))
            };
            let next = cron.next(after);
            if let Some(next) = next {
                prop_assert!(next > after && next % 60_000 == 0 && fits(next));
            }
            // One by one, for three days at most.
            let mut at = (after / 60_000 + 1) * 60_000;
            let end = next.unwrap_or(u64::MAX).min(after + 3 * DAY_MS);
            while at < end {
                prop_assert!(!fits(at));
                at += 60_000;
            }
        }

        #[test]
        fn the_last_time_is_the_one_before_the_next(
            (text, _) in any_cron(),
            after in 0..4_102_444_800_000u64,
            passed in 0..40 * DAY_MS,
        ) {
            let cron = cron(&text);
            let Some(first) = cron.next(after) else { return Ok(()) };
            let until = first + passed;
            let last = cron.last(first, until);
            prop_assert!(last >= first && last <= until);
            prop_assert_eq!(cron.next(last - 1), Some(last));
            prop_assert!(cron.next(last).is_none_or(|next| next > until));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Cron>();
        }
    }
}
