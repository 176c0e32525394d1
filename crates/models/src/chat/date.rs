//! `strftime_now(format)`: today, in UTC; the parts of Python's `strftime` that templates use.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

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

pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    strftime(format, seconds)
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
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let february = if leap { 29 } else { 28 };
        for (month, length) in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate() {
            if days < length {
                return (year, month + 1, days + 1);
            }
            days -= length;
        }
        year += 1;
    }
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
}
