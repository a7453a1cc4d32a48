//! Short texts for people to read: names of tenants, users and projects, and reasons.

use std::{fmt, str::FromStr};

use super::{Invalid, text_value};

/// 1 to 200 characters, trimmed, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// The most characters that a name may have.
    pub const MAX_CHARS: usize = 200;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DisplayName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        line(text, Self::MAX_CHARS).map(Self)
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an operator did something: 1 to 500 characters, trimmed, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// The most characters that a reason may have.
    pub const MAX_CHARS: usize = 500;

    /// The reason as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reason {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        line(text, Self::MAX_CHARS).map(Self)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line of text, trimmed.
fn line(text: &str, max_chars: usize) -> Result<String, Invalid> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > max_chars {
        return Err(Invalid::new("invalid_length", format!("must be 1 to {max_chars} characters long")));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new("invalid_format", "must not hold control characters"));
    }
    Ok(text.to_owned())
}

text_value!(Reason, r"^\S(.*\S)?$", "Unpaid since March");
text_value!(DisplayName, r"^\S(.*\S)?$", "Acme Corporation");
