//! Names for people to read: of tenants, users, projects.

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
        let text = text.trim();
        if text.is_empty() || text.chars().count() > Self::MAX_CHARS {
            return Err(Invalid::new("invalid_length", format!("must be 1 to {} characters long", Self::MAX_CHARS)));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("invalid_format", "must not hold control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(DisplayName, r"^\S(.*\S)?$", "Acme Corporation");
