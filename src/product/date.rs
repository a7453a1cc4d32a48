//! A day of the calendar, without a time or a zone.

use std::{fmt, str::FromStr};

use chrono::NaiveDate;

use crate::types::{Invalid, text_value};

/// A day from 0000-01-01 to 9999-12-31 (RFC 3339 `full-date`). PostgreSQL's dates hold all of these; chrono's own
/// text form reaches beyond both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date(NaiveDate);

impl Date {
    /// The day that a database row holds.
    pub(super) const fn from_stored(date: NaiveDate) -> Self {
        Self(date)
    }

    /// The day as database rows hold it.
    pub(super) const fn naive(self) -> NaiveDate {
        self.0
    }
}

impl FromStr for Date {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // chrono alone would also take spaces, signs and years of any length.
        let is_placed =
            |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
        let shaped = text.len() == 10 && text.bytes().enumerate().all(is_placed);
        let date = shaped.then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten();
        date.map(Self).ok_or_else(|| Invalid::new("invalid_date", "must be a date such as 2030-01-31"))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

text_value!(Date, "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "2030-01-31");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_dates_of_four_digit_years_are_taken() {
        for good in ["2030-01-31", "2028-02-29", "0001-01-01", "9999-12-31"] {
            assert_eq!(good.parse::<Date>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "2030-1-31",
            "2029-02-29",
            "+2030-01-1",
            "-001-01-01",
            "10000-01-01",
            "2030-01-31T00",
            "2030/01/31",
            "2030-01- 1",
        ] {
            assert!(bad.parse::<Date>().is_err(), "{bad}");
        }
    }
}
