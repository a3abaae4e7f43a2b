//! Points in time and spans of it, as systemd.time(7) writes them.

/// Words for a whole expression.
const WORDS: [&str; 13] = [
    "minutely",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "yearly",
    "annually",
    "anually",
    "biannually",
    "bi-annually",
    "semiannually",
    "semi-annually",
];

const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// A calendar event: `daily`, `Mon..Fri 03:00`, `*-*-01 04:30 Europe/Vienna`.
pub(in super::super) fn calendar(text: &str) -> bool {
    if text.len() > 256 || !text.is_ascii() || text != text.trim() {
        return false;
    }
    if WORDS.contains(&text.to_ascii_lowercase().as_str()) {
        return true;
    }
    let mut words: Vec<&str> = text.split(' ').collect();
    if words.len() > 1 && words.last().is_some_and(|word| zone(word)) {
        words.pop();
    }
    let mut words = words.into_iter().peekable();
    let mut said = false;
    for part in [days as fn(&str) -> bool, date, time] {
        if words.peek().is_some_and(|word| part(word)) {
            words.next();
            said = true;
        }
    }
    said && words.next().is_none()
}

/// A time zone, behind an expression: UTC or a place.
fn zone(word: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    let place = word.contains('/') && word.starts_with(|c: char| c.is_ascii_uppercase());
    word.eq_ignore_ascii_case("UTC")
        || (place && word.chars().all(good) && !word.contains("//") && !word.ends_with('/'))
}

fn days(word: &str) -> bool {
    let day = |name: &str| {
        let name = name.to_ascii_lowercase();
        DAYS.iter()
            .position(|day| *day == name || (name.len() == 3 && day.starts_with(&name)))
    };
    word.split(',').all(
        |part| match part.split_once("..").or_else(|| part.split_once('-')) {
            Some((from, to)) => {
                matches!((day(from), day(to)), (Some(from), Some(to)) if from <= to)
            }
            None => day(part).is_some(),
        },
    )
}

/// `YEAR-MONTH-DAY`, `MONTH-DAY`; with `~` the day counts from the end of the month.
fn date(word: &str) -> bool {
    let Some((front, day)) = word.rsplit_once(['-', '~']) else {
        return false;
    };
    let (year, month) = front.split_once('-').unwrap_or(("*", front));
    numbers(year, 1970..=2199, false)
        && numbers(month, 1..=12, false)
        && numbers(day, 1..=31, false)
}

/// `HOUR:MINUTE` or `HOUR:MINUTE:SECOND`.
fn time(word: &str) -> bool {
    let parts: Vec<&str> = word.split(':').collect();
    let (hour, minute, second) = match parts[..] {
        [hour, minute] => (hour, minute, "0"),
        [hour, minute, second] => (hour, minute, second),
        _ => return false,
    };
    numbers(hour, 0..=23, false) && numbers(minute, 0..=59, false) && numbers(second, 0..=59, true)
}

/// Numbers of a range, `a..b`, with `/step` behind them, parted by commas; or all of them, `*`.
fn numbers(text: &str, range: std::ops::RangeInclusive<u32>, fractions: bool) -> bool {
    let number = |text: &str| -> Option<f64> {
        let whole = text.split('.').next().unwrap_or_default();
        let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let good = match text.split_once('.') {
            Some((a, b)) => fractions && digits(a) && digits(b) && b.len() <= 6,
            None => digits(text),
        };
        let inside = |n: u32| range.contains(&n);
        let value = whole
            .parse::<u32>()
            .ok()
            .filter(|_| good && text.len() <= 12)?;
        inside(value).then(|| text.parse().ok()).flatten()
    };
    let step = |text: &str| -> bool {
        let good = |c: char| c.is_ascii_digit() || (fractions && c == '.');
        !text.is_empty()
            && text.len() <= 8
            && text.chars().all(good)
            && text
                .parse::<f64>()
                .is_ok_and(|n| n > 0.0 && n <= f64::from(*range.end()))
    };
    if text == "*" {
        return true;
    }
    text.split(',').all(|part| {
        let (span, every) = match part.split_once('/') {
            Some((span, every)) => (span, Some(every)),
            None => (part, None),
        };
        let span = match span.split_once("..") {
            Some((from, to)) => matches!((number(from), number(to)), (Some(a), Some(b)) if a <= b),
            None => number(span).is_some(),
        };
        span && every.is_none_or(step)
    })
}

/// A span of time: `15min`, `1h 30min`, `90`.
pub(in super::super) fn span(text: &str) -> bool {
    const UNITS: [&str; 29] = [
        "us", "usec", "ms", "msec", "s", "sec", "second", "seconds", "m", "min", "minute",
        "minutes", "h", "hr", "hour", "hours", "d", "day", "days", "w", "week", "weeks", "M",
        "month", "months", "y", "year", "years", "",
    ];
    let mut rest = text.trim();
    if rest.is_empty() || text.len() > 64 {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let behind = rest[digits..].trim_start_matches(' ');
        let letters = behind.len()
            - behind
                .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                .len();
        if digits == 0 || digits > 9 || !UNITS.contains(&&behind[..letters]) {
            return false;
        }
        rest = behind[letters..].trim_start_matches(' ');
    }
    true
}

#[cfg(test)]
mod tests;
