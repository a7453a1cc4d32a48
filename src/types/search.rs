//! What is searched for in a list.

use std::{fmt, str::FromStr};

use super::{Invalid, text_value};

/// `q` of a list: a part of a text, in any case. Up to 200 characters, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search(String);

impl Search {
    /// The most characters that it may have.
    pub const MAX_CHARS: usize = 200;

    /// The pattern for ILIKE that finds this text wherever it stands, its wildcards taken literally.
    #[must_use]
    pub fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.0.len() + 2);
        pattern.push('%');
        for c in self.0.chars() {
            if matches!(c, '\\' | '%' | '_') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('%');
        pattern
    }
}

impl FromStr for Search {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.chars().count() > Self::MAX_CHARS {
            let message = format!("must be at most {} characters long", Self::MAX_CHARS);
            return Err(Invalid::new("invalid_length", message));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("invalid_format", "must not hold control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(Search, r"^[^\u0000-\u001f\u007f-\u009f]{0,200}$", "launch");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_searched_for_literally() {
        for (text, pattern) in [("", "%%"), ("a", "%a%"), ("50%_\\", r"%50\%\_\\%")] {
            assert_eq!(text.parse::<Search>().unwrap().pattern(), pattern);
        }
        assert!("a\0".parse::<Search>().is_err());
    }
}
