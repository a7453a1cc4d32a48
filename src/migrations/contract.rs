//! What a file takes away from older releases: `-- freehold:contract oldest=12 backfill=11`, among its first comments.
//!
//! `oldest` is the oldest version of the stream that a release must carry to do without what the file takes away; the
//! file's own version unless said otherwise. `backfill` is the batched file that has to be finished in every tenant
//! before a rollout of this one begins.

use super::{MigrationFile, Mode, marker};

/// The word that begins such a comment.
pub(super) const WORD: &str = "contract";

/// What a contracting file asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// The oldest version that a release must carry; its own if there is none.
    pub oldest: Option<i32>,
    /// The batched file that must be finished everywhere.
    pub backfill: Option<i32>,
}

impl Contract {
    /// Reads it off the first comments. None of a file that takes nothing away, and of a comment that is wrong.
    #[must_use]
    pub fn of(sql: &str) -> Option<Self> {
        marker::head(sql).filter_map(|(_, line)| marker::word(line)).find_map(|word| Self::parse(word)?.ok())
    }

    /// The contract that a word says, if it is meant as one, and what is wrong with it.
    pub(super) fn parse(word: &str) -> Option<Result<Self, String>> {
        let rest = word.strip_prefix(WORD).filter(|rest| rest.is_empty() || rest.starts_with(' '))?;
        let mut contract = Self::default();
        for part in rest.split_whitespace() {
            let number = part.split_once('=').and_then(|(name, number)| Some((name, number.parse::<i32>().ok()?)));
            let slot = match number {
                Some(("oldest", number)) if number >= 0 => contract.oldest.replace(number),
                Some(("backfill", number)) if number >= 1 => contract.backfill.replace(number),
                _ => return Some(Err(format!("`{part}` is neither `oldest=<version>` nor `backfill=<version>`"))),
            };
            if slot.is_some() {
                return Some(Err(format!("`{part}` says it twice")));
            }
        }
        Some(Ok(contract))
    }
}

/// Why the contract of a file cannot be kept in its set: no version that it names is newer than its own, and what it
/// names as a backfill is a batched file.
pub(super) fn misfit(file: &MigrationFile, files: &[MigrationFile]) -> Option<String> {
    let Contract { oldest, backfill } = Contract::of(&file.sql)?;
    if let Some(oldest) = oldest.filter(|oldest| *oldest > file.version) {
        return Some(format!("`oldest={oldest}` is newer than the file itself"));
    }
    let backfill = backfill?;
    let is_batched = |other: &&MigrationFile| other.version == backfill && Mode::of(&other.sql) == Ok(Mode::Batched);
    if backfill < file.version && files.iter().find(is_batched).is_some() {
        return None;
    }
    Some(format!("`backfill={backfill}` is no earlier file with `-- freehold:batched`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_stands_among_the_first_comments() {
        let both = Contract { oldest: Some(12), backfill: Some(11) };
        for (sql, contract) in [
            ("ALTER TABLE a DROP b", None),
            ("-- freehold:contract\nALTER", Some(Contract::default())),
            ("-- why\n-- freehold:contract oldest=12 backfill=11\nALTER", Some(both)),
            ("-- freehold:no-transaction\n-- freehold:contract  backfill=11 oldest=12 \nDROP", Some(both)),
            ("SELECT 1;\n-- freehold:contract", None),
            ("-- freehold:contracts", None),
        ] {
            assert_eq!(Contract::of(sql), contract, "{sql}");
        }
        for word in ["contract oldest", "contract oldest=x", "contract oldest=1 oldest=2", "contract backfill=0"] {
            assert!(Contract::parse(word).unwrap().is_err(), "{word}");
        }
        assert_eq!(Contract::parse("contraction"), None);
    }

    #[test]
    fn a_contract_names_what_is_there_before_it() {
        let file = |version, sql: &str| MigrationFile { version, name: "a".into(), sql: sql.into() };
        let files = [file(1, "SELECT 1"), file(2, "-- freehold:batched\nUPDATE"), file(3, "SELECT 1")];
        for (sql, fits) in [
            ("-- freehold:contract oldest=2 backfill=2\nSELECT 1", true),
            ("-- freehold:contract oldest=3\nSELECT 1", true),
            ("-- freehold:contract oldest=4\nSELECT 1", false),
            ("-- freehold:contract backfill=1\nSELECT 1", false),
            ("-- freehold:contract backfill=3\nSELECT 1", false),
            ("SELECT 1", true),
        ] {
            assert_eq!(misfit(&file(3, sql), &files).is_none(), fits, "{sql}");
        }
    }
}
