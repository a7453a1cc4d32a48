//! Short texts for people to read: names of tenants, users and projects, and reasons.

use std::{fmt, str::FromStr};

use super::{Invalid, text_value};

/// 1 to 200 characters, trimmed, some of them visible, without control characters and without those that turn the
/// direction of what is shown beside them.
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

/// Why an operator did something: 1 to 500 characters, as of a [`DisplayName`].
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
    if text.chars().any(|c| c.is_control() || is_turning(c)) {
        return Err(Invalid::new("invalid_format", "must not hold control characters, or such as turn the direction"));
    }
    if text.chars().all(|c| c.is_whitespace() || is_invisible(c)) {
        return Err(Invalid::new("invalid_format", "must hold something that can be seen"));
    }
    Ok(text.to_owned())
}

/// Embeddings, overrides and isolates (Unicode Standard Annex #9): with them a text can look like another one, and
/// change how what follows it looks. The marks, which right-to-left names need, are none of them.
const fn is_turning(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Marks of direction, joiners and spaces without width.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}')
}

text_value!(Reason, r"^\S(.*\S)?$", "Unpaid since March");
text_value!(DisplayName, r"^\S(.*\S)?$", "Acme Corporation");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_seen_and_look_like_themselves() {
        let name = |text: &str| text.parse::<DisplayName>();
        for fine in [
            "Acme",
            "\u{5E2}\u{5D1}\u{5E8}\u{200F}",
            "\u{645}\u{6CC}\u{200C}\u{62E}\u{648}\u{627}\u{647}\u{645}",
            "\u{2605}",
        ] {
            assert_eq!(name(&format!(" {fine} ")).unwrap().as_str(), fine);
        }
        for bad in ["", " ", "a\u{7}b", "\u{200F}", "\u{200B} \u{FEFF}", "Acme \u{202E}moc.live", "a\u{2066}b"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert!(name(&"x".repeat(200)).is_ok() && name(&"x".repeat(201)).is_err());
    }
}
