//! Short texts for people to read: names of tenants, users and projects, and reasons.

use std::{fmt, str::FromStr};

use super::{Invalid, text_value};

/// 1 to 200 characters, trimmed, some of them visible, and none that [steers](is_steering) what shows them.
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

    /// A name that was accepted when it was stored, by whatever rules there were then.
    ///
    /// # Errors
    /// It is no text.
    pub(crate) fn deserialize_stored<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::Deserialize::deserialize(deserializer).map(Self)
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
    if text.chars().any(is_steering) {
        let rule = "must not hold control characters, nor such as break the line or turn its direction";
        return Err(Invalid::new("invalid_format", rule));
    }
    if text.chars().all(|c| c.is_whitespace() || is_invisible(c)) {
        return Err(Invalid::new("invalid_format", "must hold something that can be seen"));
    }
    Ok(text.to_owned())
}

/// Whether a character changes how others beside it are shown, so that a text looks like another one: control
/// characters, separators of lines, and the embeddings, overrides and isolates of Unicode Standard Annex #9. The marks
/// of direction, which right-to-left names need, are none of them.
pub(crate) fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// What leaves no trace alone: the default ignorable code points (Unicode Standard Annex #44), and an empty Braille
/// cell.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}'
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
    )
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
        for bad in [
            "",
            " ",
            "a\u{7}b",
            "\u{200F}",
            "\u{200B} \u{FEFF}",
            "Acme \u{202E}moc.live",
            "a\u{2066}b",
            "\u{3164}\u{2800}",
            "a\u{2028}b",
        ] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert!(name(&"x".repeat(200)).is_ok() && name(&"x".repeat(201)).is_err());
    }
}
