//! The one place where names and texts become part of SQL.
//!
//! Freehold generates every name that reaches DDL, so both functions check against an allow-list instead of
//! escaping: a name that would need escaping is a defect and stops here.

use crate::error::{Error, Result};

/// PostgreSQL's NAMEDATALEN - 1: longer names are cut without a word.
const MAX_IDENTIFIER: usize = 63;

/// `"name"`, if it is one of ours: `[a-z_][a-z0-9_]{0,62}`.
pub fn quote_ident(name: &str) -> Result<String> {
    let ours = |b: u8| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit();
    let first = name.bytes().next().is_some_and(|b| ours(b) && !b.is_ascii_digit());
    if first && name.len() <= MAX_IDENTIFIER && name.bytes().all(ours) {
        return Ok(format!("\"{name}\""));
    }
    Err(Error::defect("a name that Freehold did not generate was about to reach SQL"))
}

/// `'text'`, for DDL that takes no parameters: printable ASCII without quotes and backslashes, so that it reads
/// the same under every setting of `standard_conforming_strings`.
pub fn quote_literal(text: &str) -> Result<String> {
    let harmless = |b: u8| (b' '..=b'~').contains(&b) && b != b'\'' && b != b'\\';
    if text.bytes().all(harmless) {
        return Ok(format!("'{text}'"));
    }
    Err(Error::defect("a text that Freehold did not generate was about to reach SQL"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn our_own_names_pass() {
        for name in ["tenant_0190b6a4c1e87d3f8a2b5c6d7e8f9012", "freehold_owner", "_", "template1"] {
            assert_eq!(quote_ident(name).unwrap(), format!("\"{name}\""));
        }
    }

    #[test]
    fn foreign_names_and_texts_stop() {
        let long = "a".repeat(64);
        for name in ["", "1a", "A", "a-b", "a b", "a\"b", "a'b", "a;b", "a\0", "ä", "a\n", long.as_str()] {
            assert!(quote_ident(name).is_err(), "{name:?}");
        }
        for text in ["'", "\\", "\0", "\n", "é", "a'b"] {
            assert!(quote_literal(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_name_is_the_name_between_two_quotes(name in ".{0,80}") {
            if let Ok(quoted) = quote_ident(&name) {
                prop_assert_eq!(&quoted[1..quoted.len() - 1], &name);
                prop_assert!(!name.contains(['"', '\0']));
                prop_assert!((1..=63).contains(&name.len()));
            }
        }

        #[test]
        fn a_quoted_text_ends_where_it_should(text in ".{0,80}") {
            if let Ok(quoted) = quote_literal(&text) {
                prop_assert_eq!(quoted.matches('\'').count(), 2);
                prop_assert!(!quoted.contains('\\'));
            }
        }
    }
}
