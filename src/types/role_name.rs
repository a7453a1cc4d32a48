//! Names of roles.

use std::{fmt, str::FromStr};

use super::{Invalid, text_value};

/// 2 to 63 of `a-z 0-9 _ -`, a letter first: what a role is called, built in or custom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleName(String);

impl RoleName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoleName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_good = (2..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
        if is_good {
            return Ok(Self(text.to_owned()));
        }
        let rule = "must be 2 to 63 lower-case letters, digits, hyphens and underscores, a letter first";
        Err(Invalid::new("invalid_format", rule))
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(RoleName, r"^[a-z][a-z0-9_-]{1,62}$", "member");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_table_takes_is_a_name() {
        for good in ["owner", "a1", "night-shift_2"] {
            assert_eq!(good.parse::<RoleName>().unwrap().as_str(), good);
        }
        for bad in ["", "a", "1a", "Owner", "a b", "ä1", &"a".repeat(64)] {
            assert!(bad.parse::<RoleName>().is_err(), "{bad:?}");
        }
    }
}
