//! Longer texts.

use std::{fmt, str::FromStr};

use crate::types::{Invalid, text_value};

/// Up to 10,000 characters; of the control characters only line feed and tab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Description(String);

impl Description {
    const MAX_CHARS: usize = 10_000;

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Description {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.chars().count() > Self::MAX_CHARS {
            let message = format!("must be at most {} characters long", Self::MAX_CHARS);
            return Err(Invalid::new("invalid_length", message));
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            let message = "must not hold control characters other than line feed and tab";
            return Err(Invalid::new("invalid_format", message));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(Description, r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]{0,10000}$", "What we build first, and why.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_have_lines_but_no_control_characters() {
        for good in ["", "a\nb\tc", "ü", &"ü".repeat(10_000)] {
            assert!(good.parse::<Description>().is_ok());
        }
        for bad in ["a\0", "a\r\n", "\u{1b}[0m", &"a".repeat(10_001)] {
            assert!(bad.parse::<Description>().is_err(), "{bad:?}");
        }
    }
}
