//! `strftime_now(format)`: today, in UTC, or a day that is given; the parts of Python's `strftime` that templates use.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};
use serde::{Serialize, Serializer};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// The first of January 1970 was a Thursday.
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

const DAY: u64 = 86_400;

/// A day, in UTC; written as `2026-11-25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// Since the first of January 1970.
    days: u64,
}

impl Date {
    /// The day that it is.
    pub fn today() -> Self {
        Self { days: now() / DAY }
    }
}

impl FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no date; expected one from 1970-01-01 to 9999-12-31, written so");
        let shape =
            |(at, letter): (usize, char)| if at == 4 || at == 7 { letter == '-' } else { letter.is_ascii_digit() };
        if text.len() != 10 || !text.char_indices().all(shape) {
            return Err(wrong());
        }
        let number = |part: &str| part.parse::<usize>().map_err(|_| wrong());
        let (year, month, day) = (number(&text[..4])?, number(&text[5..7])?, number(&text[8..])?);
        let lengths = months(year as u64);
        let length = month.checked_sub(1).and_then(|month| lengths.get(month)).ok_or_else(wrong)?;
        if year < 1970 || day < 1 || day as u64 > *length {
            return Err(wrong());
        }
        let years: u64 = (1970..year as u64).map(|year| months(year).iter().sum::<u64>()).sum();
        Ok(Self { days: years + lengths[..month - 1].iter().sum::<u64>() + day as u64 - 1 })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.days);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The function for templates: on `day` (its first moment) or, without one, now. It leaves word when it is called.
pub(super) fn strftime_on(
    day: Option<Date>,
    called: Arc<AtomicBool>,
) -> impl Fn(String) -> Result<String, Error> + Send + Sync + 'static {
    move |format| {
        called.store(true, Ordering::Relaxed);
        strftime(&format, day.map_or_else(now, |day| day.days * DAY))
    }
}

/// Seconds since the first of January 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `seconds` since the first of January 1970.
fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let (days, time) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = date(days);
    let name = MONTHS[month - 1];
    let weekday = DAYS[(days % 7) as usize];
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('Y') => out += &year.to_string(),
            Some('y') => out += &format!("{:02}", year % 100),
            Some('m') => out += &format!("{month:02}"),
            Some('d') => out += &format!("{day:02}"),
            Some('B') => out += name,
            Some('b') => out += &name[..3],
            Some('A') => out += weekday,
            Some('a') => out += &weekday[..3],
            Some('H') => out += &format!("{:02}", time / 3600),
            Some('M') => out += &format!("{:02}", time / 60 % 60),
            Some('S') => out += &format!("{:02}", time % 60),
            Some('%') => out.push('%'),
            other => {
                let found = other.map_or_else(String::new, String::from);
                let what = format!("strftime_now: %{found} is none of %Y %y %m %d %B %b %A %a %H %M %S %%");
                return Err(Error::new(ErrorKind::InvalidOperation, what));
            }
        }
    }
    Ok(out)
}

/// Year, month (1 to 12) and day of a number of days since the first of January 1970, by counting.
fn date(mut days: u64) -> (u64, usize, u64) {
    let mut year = 1970;
    loop {
        for (month, length) in months(year).into_iter().enumerate() {
            if days < length {
                return (year, month + 1, days + 1);
            }
            days -= length;
        }
        year += 1;
    }
}

/// Days of the months of a year.
fn months(year: u64) -> [u64; 12] {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if leap { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against Python's `time.strftime(format, time.gmtime(seconds))`.
    #[test]
    fn dates_are_pythons() {
        let all = "%a %A %d %b %B %m %Y %y %H:%M:%S 100%%";
        for (seconds, want) in [
            (0, "Thu Thursday 01 Jan January 01 1970 70 00:00:00 100%"),
            (951_782_399, "Mon Monday 28 Feb February 02 2000 00 23:59:59 100%"),
            (951_782_400, "Tue Tuesday 29 Feb February 02 2000 00 00:00:00 100%"),
            (1_735_689_599, "Tue Tuesday 31 Dec December 12 2024 24 23:59:59 100%"),
            (1_795_630_000, "Wed Wednesday 25 Nov November 11 2026 26 18:06:40 100%"),
        ] {
            assert_eq!(strftime(all, seconds).ok().as_deref(), Some(want));
        }
        assert!(strftime("%j", 0).is_err() && strftime("%", 0).is_err());
    }

    #[test]
    fn dates_are_read_as_they_are_written() -> Result<(), String> {
        for (text, days) in [("1970-01-01", 0), ("2000-02-29", 11_016), ("2024-12-31", 20_088), ("2026-11-25", 20_782)]
        {
            let date: Date = text.parse()?;
            assert_eq!((date.days, date.to_string()), (days, text.to_owned()));
            assert_eq!(strftime("%Y-%m-%d %H:%M", date.days * DAY).ok(), Some(format!("{text} 00:00")));
        }
        for text in [
            "",
            "today",
            "2026-13-01",
            "2026-00-01",
            "2026-02-29",
            "2026-04-00",
            "1969-12-31",
            "26-11-25",
            "2026-1-025",
            "2026/11/25",
            "2026-11-25 ",
            "+026-11-25",
            "２026-11-2",
        ] {
            assert!(text.parse::<Date>().is_err_and(|e| e.contains(&format!("`{text}` is no date"))), "{text}");
        }
        Ok(())
    }
}
