//! What a database's schema really is, object by object, and its fingerprint: what drift is found by.
//!
//! Two definitions of an object are the same if their canonical forms are ([`mod@canonical`]), which a dump and a restore do
//! not change, whatever the object. A fingerprint, `fsck` and the rehearsal of an archive all compare by that form.
//!
//! Not part of it: the order of a table's columns, which programs do not rely on, and which differs where columns were
//! added in another order; what PostgreSQL keeps for itself (statistics targets, storage, comments, the inside of
//! aggregates and operators); and everything that does not belong to the database alone.

mod canonical;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, SimpleQueryMessage};

use self::canonical::canonical;
use crate::error::{Error, Result};

/// The form of fingerprints and of what they are made of. Another form, another number: then templates of an earlier
/// release are built and recorded anew, and no tenant is held against what cannot be compared.
pub(super) const FORM: u32 = 2;

const DESCRIBE: &str = include_str!("schema/describe.sql");
/// So that every name is written out in full and every constant in the same way, whatever is set for the database or the
/// role, and so that a statement that hangs does not hold up more than itself.
const SETTINGS: &str = "BEGIN READ ONLY; SET LOCAL search_path = pg_catalog; SET LOCAL statement_timeout = '10s';
    SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres';
    SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C';
    SET LOCAL quote_all_identifiers = off; SET LOCAL standard_conforming_strings = on";

/// A database's schema: objects and their definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema {
    objects: BTreeMap<String, String>,
}

/// An object that is another in two schemas, or in one of them only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its kind and its full name: `column public.projects.name`.
    pub object: String,
    /// Its definition as it should be. None: it should not be there.
    pub expected: Option<String>,
    /// Its definition as it is. None: it is not there.
    pub actual: Option<String>,
}

impl Schema {
    /// Reads the schema of the database that `session` is in: one statement in one round trip, outside of a transaction.
    /// Any login may: catalogues are open to everybody.
    pub async fn of(session: &mut Client) -> Result<Self> {
        let described = session.simple_query(&format!("{SETTINGS}; {DESCRIBE}; ROLLBACK")).await;
        let answers = match described {
            Ok(answers) => answers,
            Err(error) => {
                // An error leaves the transaction open. One of the session itself is told by the caller's next statement.
                drop(session.batch_execute("ROLLBACK").await);
                return Err(error.into());
            }
        };
        let rows = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let object = |row: &tokio_postgres::SimpleQueryRow| {
            let name = row.try_get("object")?.ok_or_else(|| Error::defect("an object of a schema has no name"))?;
            let mut definition = row.try_get("definition")?.unwrap_or_default().trim().to_owned();
            let mut granted: Vec<_> = row.try_get("granted")?.unwrap_or_default().lines().collect();
            if !granted.is_empty() {
                granted.sort_unstable();
                let _ = write!(definition, " GRANTED {}", granted.join(", "));
            }
            Ok((name.to_owned(), definition))
        };
        Ok(Self { objects: rows.map(object).collect::<Result<_>>()? })
    }

    /// The objects that are not in `other` as they are here, or in `other` only.
    #[must_use]
    pub fn changes<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        self.pairs(other)
            .filter(|(_, own, others)| match (own, others) {
                (Some(own), Some(others)) => own != others && canonical(own) != canonical(others),
                _ => true,
            })
            .map(|(object, ..)| object)
            .collect()
    }

    /// As [`Self::changes`], with what each object should be, which is as here, and what it is in `found`.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<Difference> {
        let changes = self.changes(found);
        let difference = |object: &str| Difference {
            object: object.to_owned(),
            expected: self.objects.get(object).cloned(),
            actual: found.objects.get(object).cloned(),
        };
        changes.into_iter().map(difference).collect()
    }

    /// SHA-256 over all objects and their canonical definitions, in hexadecimal: equal schemas have equal fingerprints.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let objects: Vec<_> = self.objects.iter().map(|(object, definition)| (object, canonical(definition))).collect();
        fingerprint(objects.iter().flat_map(|(object, definition)| [object.as_bytes(), definition.as_bytes()]))
    }

    /// All objects of both, with the definitions in each.
    fn pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a str, Option<&'a String>, Option<&'a String>)> {
        let all: BTreeSet<_> = self.objects.keys().chain(other.objects.keys()).map(String::as_str).collect();
        all.into_iter().map(move |object| (object, self.objects.get(object), other.objects.get(object)))
    }
}

/// SHA-256 over `parts`, in hexadecimal.
pub(super) fn fingerprint<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        // The length first, so that no text can pass for the end of another.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    hex(context.finish().as_ref())
}

/// These bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(objects: &[(&str, &str)]) -> Schema {
        let owned = |(object, definition): &(&str, &str)| ((*object).to_owned(), (*definition).to_owned());
        Schema { objects: objects.iter().map(owned).collect() }
    }

    #[test]
    fn what_postgresql_writes_otherwise_is_the_same() {
        let made =
            "CHECK (((state)::text = ANY ((ARRAY['new'::character varying, 'paid'::character varying])::text[])))";
        let restored = "CHECK (((state)::text = ANY (ARRAY[('new'::character varying)::text, ('paid'::character varying)::text])))";
        let made = schema(&[("constraint orders.state", made), ("relation orders", "table owner freehold_owner")]);
        let same = schema(&[("constraint orders.state", restored), ("relation orders", "table owner freehold_owner")]);
        assert!(made.changes(&same).is_empty());
        assert_eq!(made.fingerprint(), same.fingerprint());
        let other = schema(&[("relation orders", "table owner postgres"), ("relation more", "table")]);
        assert_eq!(
            Vec::from_iter(made.changes(&other)),
            ["constraint orders.state", "relation more", "relation orders"]
        );
        assert_ne!(made.fingerprint(), other.fingerprint());
        let difference = &made.differences(&other)[2];
        assert_eq!(difference.expected.as_deref(), Some("table owner freehold_owner"));
        assert_eq!(difference.actual.as_deref(), Some("table owner postgres"));
        assert_eq!(made.differences(&other)[1].expected, None);
    }
}
