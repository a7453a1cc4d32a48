//! How a file asks to be run: a marker among the comments before its first statement, `-- freehold:no-transaction`. What
//! else may stand there is a waiver, or a [`Contract`].

use super::contract::Contract;
use crate::types::Invalid;

/// What begins every word that a comment says to Freehold.
const PREFIX: &str = "freehold:";
/// The word of a waiver, which the linter reads: `-- freehold:allow <rule>: <reason>`.
pub(super) const ALLOW: &str = "allow";

/// How the statements of a file are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All in one transaction.
    #[default]
    Transaction,
    /// `-- freehold:no-transaction`: the one statement outside a transaction.
    NoTransaction,
    /// `-- freehold:batched`: the one statement again and again, until it touches no row.
    Batched,
}

impl Mode {
    const MARKERS: [(&str, Self); 2] = [("no-transaction", Self::NoTransaction), ("batched", Self::Batched)];

    /// Reads the marker off the lines before the first statement: comments that begin with `--`, and empty lines.
    ///
    /// # Errors
    /// `invalid_marker`, with the line: a word that Freehold does not know, or a second marker.
    pub fn of(sql: &str) -> Result<Self, Invalid> {
        let invalid = |(line, what)| Invalid::new("invalid_marker", format!("line {line}: {what}"));
        Self::read(sql).map_err(invalid)
    }

    /// As [`of`](Self::of), with the line and what is wrong there.
    pub(super) fn read(sql: &str) -> Result<Self, (usize, String)> {
        let (mut mode, mut has_contract) = (None, false);
        for (line, text) in head(sql) {
            let Some(word) = word(text).filter(|word| !is_waiver(word)) else { continue };
            match Contract::parse(word) {
                Some(Ok(_)) if has_contract => return Err((line, "a file has one contract at most".to_owned())),
                Some(Ok(_)) => {
                    has_contract = true;
                    continue;
                }
                Some(Err(what)) => return Err((line, what)),
                None => {}
            }
            let marker = Self::MARKERS.iter().find(|(known, _)| *known == word);
            let (_, named) = marker.ok_or_else(|| (line, unknown(word)))?;
            if mode.replace(*named).is_some() {
                return Err((line, "a file has one marker at most".to_owned()));
            }
        }
        Ok(mode.unwrap_or_default())
    }
}

/// The lines that may hold the marker, with their numbers.
pub(super) fn head(sql: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_head = |line: &str| line.is_empty() || line.starts_with("--");
    (1..).zip(sql.lines().map(str::trim)).take_while(move |(_, text)| is_head(text))
}

/// What a comment line says to Freehold: what follows `-- freehold:`.
pub(super) fn word(line: &str) -> Option<&str> {
    line.trim().strip_prefix("--")?.trim_start().strip_prefix(PREFIX).map(str::trim_end)
}

/// Whether a word is a waiver, whatever is wrong with it.
pub(super) fn is_waiver(word: &str) -> bool {
    word.strip_prefix(ALLOW).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', ':']))
}

fn unknown(word: &str) -> String {
    format!("`{PREFIX}{word}` is none of `no-transaction`, `batched`, `contract`, `allow <rule>: <reason>`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_stands_among_the_first_comments() {
        for (sql, mode) in [
            ("SELECT 1", Mode::Transaction),
            ("-- freehold:no-transaction\nCREATE INDEX CONCURRENTLY", Mode::NoTransaction),
            ("\n-- Why.\n  --freehold:batched  \n\nUPDATE", Mode::Batched),
            ("-- freehold:allow x: because\n-- freehold:batched\nUPDATE", Mode::Batched),
            ("SELECT 1;\n-- freehold:batched\n", Mode::Transaction),
            ("-- see freehold:batched\nSELECT 1", Mode::Transaction),
            ("-- freehold:contract oldest=3\n-- freehold:batched\nDELETE", Mode::Batched),
            ("", Mode::Transaction),
        ] {
            assert_eq!(Mode::of(sql), Ok(mode), "{sql}");
        }
    }

    #[test]
    fn what_is_no_marker_is_told_with_its_line() {
        for (sql, expected) in [
            ("-- freehold:no-transactions\n", "line 1: `freehold:no-transactions`"),
            ("-- a\n-- freehold: batched\n", "line 2: `freehold: batched`"),
            ("-- freehold:allowance\n", "line 1: `freehold:allowance`"),
            ("-- freehold:batched 500\n", "line 1: `freehold:batched 500`"),
            ("-- freehold:batched\n-- freehold:no-transaction\n", "line 2: a file has one marker"),
            ("-- freehold:contract\n-- freehold:contract\n", "line 2: a file has one contract"),
            ("-- freehold:contract since=3\n", "line 1: `since=3` is neither"),
        ] {
            let invalid = Mode::of(sql).unwrap_err();
            assert_eq!(invalid.code, "invalid_marker");
            assert!(invalid.message.starts_with(expected), "{}", invalid.message);
        }
    }
}
