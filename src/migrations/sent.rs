//! A set as it is sent to be published: new files with their texts, published ones by the digests of theirs. So a
//! publication sends what is new, however long the history is.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};

use super::{MigrationSet, UndoFile, schema::hex, set::name_of};
use crate::error::{Error, FieldError, Result};

/// What is sent of a file, beside its name.
#[derive(Clone, Debug)]
pub enum Sent {
    /// Its whole text.
    Text(String),
    /// Of one that is published already: SHA-256 of its text, in hexadecimal.
    Digest(String),
}

impl Sent {
    /// The digest of a text: what `sha256sum` says of the file.
    #[must_use]
    pub fn digest(text: &str) -> String {
        hex(digest(&SHA256, text.as_bytes()).as_ref())
    }
}

impl MigrationSet {
    /// The set that was sent, with the texts of `published` where only digests were.
    ///
    /// # Errors
    /// `migrations_diverged` (409) when the published file of that name is another one; on `files[i].sha256`:
    /// `not_published`; those of [`MigrationSet::parse`].
    pub fn complete(sent: Vec<(String, Sent)>, published: &Self) -> Result<Self> {
        let known: HashMap<_, _> = published.texts().into_iter().collect();
        let mut unknown = Vec::new();
        let mut texts = Vec::with_capacity(sent.len());
        for (index, (name, sent)) in sent.into_iter().enumerate() {
            let text = match (sent, known.get(&name)) {
                (Sent::Text(text), _) => text,
                (Sent::Digest(sha256), Some(text)) if Sent::digest(text) == sha256 => (*text).to_owned(),
                (Sent::Digest(_), Some(_)) => return Err(published_differs(&format!("{name} is another"))),
                (Sent::Digest(_), None) => {
                    let message = "no file of this name is published: send its text as sql";
                    unknown.push(FieldError::new(format!("files[{index}].sha256"), "not_published", message));
                    continue;
                }
            };
            texts.push((name, text));
        }
        if !unknown.is_empty() {
            return Err(Error::Validation(unknown));
        }
        let names: Vec<_> = texts.iter().map(|(name, _)| name.clone()).collect();
        Self::parse(texts).map_err(|error| placed(error, &names))
    }
}

/// The findings with the file's name and a line in their messages: `V3__add_labels.sql, line 2: …`.
fn placed(error: Error, names: &[String]) -> Error {
    let Error::Validation(mut findings) = error else { return error };
    for finding in &mut findings {
        if let Some(name) = name_of(finding, names) {
            // What is said of a name is said of no line, and so of the first.
            let line = if finding.message.starts_with("line ") { "" } else { "line 1: " };
            finding.message = format!("{name}, {line}{}", finding.message);
        }
    }
    Error::Validation(findings)
}

impl MigrationSet {
    /// Where this set is not what `published` begins with, if it is not: `V3__add_labels.sql, line 2, is another`.
    #[must_use]
    pub fn divergence(&self, published: &Self) -> Option<String> {
        if self.extends(published) {
            return None;
        }
        let own: HashMap<_, _> = self.texts().into_iter().collect();
        let differs = |(name, text): (String, &str)| match own.get(&name) {
            Some(own) if *own == text => None,
            Some(own) => Some(format!("{name}, line {}, is another", first_difference(own, text))),
            // Undo files need not be handed over again.
            None if UndoFile::is_meant(&name) => None,
            None => Some(format!("{name} is missing")),
        };
        published.texts().into_iter().find_map(differs).or_else(|| Some("its files are others".to_owned()))
    }
}

/// The line, from 1, in which two texts differ first.
fn first_difference(one: &str, other: &str) -> usize {
    one.split('\n').zip(other.split('\n')).take_while(|(one, other)| one == other).count() + 1
}

/// The error of a set that does not begin with what is published. `divergence` says where.
#[must_use]
pub fn published_differs(divergence: &str) -> Error {
    let detail = format!(
        "{divergence}: the set must hold every published file of the product's stream unchanged, followed by new ones; \
         published files, undo files too, never change"
    );
    Error::conflict("migrations_diverged", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, sql: &str) -> (String, Sent) {
        (name.to_owned(), Sent::Text(sql.to_owned()))
    }

    fn published(name: &str, sql: &str) -> (String, Sent) {
        (name.to_owned(), Sent::Digest(Sent::digest(sql)))
    }

    #[test]
    fn a_digest_stands_for_the_text_that_is_published() {
        let nothing = MigrationSet::parse([]).unwrap();
        let first = vec![text("V1__a.sql", "SELECT 1"), text("V2__b.sql", "SELECT 2"), text("U2__b.sql", "SELECT -2")];
        let known = MigrationSet::complete(first, &nothing).unwrap();
        let files = vec![
            published("V1__a.sql", "SELECT 1"),
            published("V2__b.sql", "SELECT 2"),
            published("U2__b.sql", "SELECT -2"),
            text("V3__c.sql", "SELECT 3"),
        ];
        let set = MigrationSet::complete(files, &known).unwrap();
        assert!(set.extends(&known));
        assert_eq!((set.version(), set.texts().len(), set.files()[1].sql.as_str()), (3, 4, "SELECT 2"));
        let changed = MigrationSet::complete(vec![published("V1__a.sql", "SELECT 0")], &known).unwrap_err();
        assert_eq!(changed.code(), "migrations_diverged");
        assert!(changed.to_string().starts_with("V1__a.sql is another: "), "{changed}");
        let unknown = vec![published("V1__a.sql", "SELECT 1"), published("V3__c.sql", "SELECT 3")];
        let Error::Validation(fields) = MigrationSet::complete(unknown, &known).unwrap_err() else { panic!() };
        assert_eq!((fields[0].field.as_str(), &*fields[0].code), ("files[1].sha256", "not_published"));
        let parsed = |texts: &[(&str, &str)]| {
            MigrationSet::parse(texts.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned()))).unwrap()
        };
        let published = parsed(&[("V1__a.sql", "SELECT 1;\nSELECT 2"), ("U1__a.sql", "SELECT 3")]);
        let divergence = |texts: &[(&str, &str)]| parsed(texts).divergence(&published);
        assert_eq!(divergence(&[("V1__a.sql", "SELECT 1;\nSELECT 2")]), None);
        let edited = divergence(&[("V1__a.sql", "SELECT 1;\nSELECT 2 "), ("V2__b.sql", "SELECT 1")]);
        assert_eq!(edited.unwrap(), "V1__a.sql, line 2, is another");
        assert_eq!(divergence(&[("V1__b.sql", "SELECT 1;\nSELECT 2")]).unwrap(), "V1__a.sql is missing");
        let undone = divergence(&[("V1__a.sql", "SELECT 1;\nSELECT 2"), ("U1__a.sql", "SELECT 4")]);
        assert_eq!(undone.unwrap(), "U1__a.sql, line 1, is another");
        // What sha256sum says of such a file.
        assert_eq!(Sent::digest("SELECT 1"), "e004ebd5b5532a4b85984a62f8ad48a81aa3460c1ca07701f386135d72cdecf5");
    }
}
