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

/// What comes between a definition and the rights.
const GRANTED: &str = " GRANTED ";
/// What the names of the product's history and of its parts begin with.
const PRODUCT_HISTORY: &str = "public.refinery_schema_history";

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
        Self::described(session, DESCRIBE).await
    }

    /// The same of a database that somebody else has made: what belongs to the role of this number is told as `owner`'s.
    pub async fn of_foreign(session: &mut Client, former: u32, owner: &str) -> Result<Self> {
        Self::described(session, &describe_as(former, owner)).await
    }

    async fn described(session: &Client, describe: &str) -> Result<Self> {
        let described = session.simple_query(&format!("{SETTINGS}; {describe}; ROLLBACK")).await;
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
                let _ = write!(definition, "{GRANTED}{}", granted.join(", "));
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

    /// What a database lacks to be adopted, whose schema is `found`: how it differs from this reference, apart from rights
    /// and from what Freehold brings. The product's history need not be there.
    #[must_use]
    pub fn differences_to_adopt(&self, found: &Self) -> Vec<Difference> {
        let has_history = found.objects.contains_key(&format!("relation {PRODUCT_HISTORY}"));
        let mut expected = self.product_alone(has_history);
        // Those refer to tables that it does not have yet.
        expected.objects.retain(|object, told| !is_link(object, told) || found.objects.contains_key(object));
        // Nothing in it is Freehold's, whatever its name says.
        let found = found.objects.iter().map(|(object, told)| (object.clone(), without_rights(object, told)));
        expected.differences(&Self { objects: found.collect() })
    }

    /// The statements that make the foreign keys to Freehold's tables which `found` lacks, and what each makes.
    pub fn links_lacking<'a>(&'a self, found: &'a Self) -> impl Iterator<Item = (&'a str, String)> {
        let lacking =
            self.objects.iter().filter(|(object, told)| is_link(object, told) && !found.objects.contains_key(*object));
        lacking.filter_map(|(object, told)| {
            let (table, name) = parted(object.strip_prefix("constraint ")?)?;
            Some((object.as_str(), format!("ALTER TABLE {table} ADD CONSTRAINT {name} {told}")))
        })
    }

    /// The product's objects without rights.
    fn product_alone(&self, has_history: bool) -> Self {
        let is_products = |object: &str| {
            let name = object.split_once(' ').map_or(object, |(_, name)| name);
            let is_own = name == "freehold" || name.starts_with("freehold.") || name.contains(" of freehold.");
            let is_history = name.starts_with(PRODUCT_HISTORY);
            !is_own && !object.starts_with("default privileges ") && (has_history || !is_history)
        };
        let own = self.objects.iter().filter(|(object, _)| is_products(object));
        Self { objects: own.map(|(object, told)| (object.clone(), without_rights(object, told))).collect() }
    }

    /// Each object with its definition, and the rights on it as PostgreSQL writes them.
    pub fn rights(&self) -> impl Iterator<Item = (&str, &str, Vec<&str>)> {
        self.objects.iter().filter_map(|(object, told)| {
            let (definition, rights) = apart(told);
            Some((object.as_str(), definition, rights?.split(", ").collect()))
        })
    }

    /// Each column that has rights of its own: the table, the column, the rights.
    pub fn column_rights(&self) -> impl Iterator<Item = (&str, &str, Vec<&str>)> {
        self.rights().filter_map(|(object, _, rights)| {
            let (table, column) = parted(object.strip_prefix("column ")?)?;
            Some((table, column, rights))
        })
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

/// The statement that describes a schema, with what belongs to the role `former` told as `owner`'s.
fn describe_as(former: u32, owner: &str) -> String {
    ["nspowner", "relowner", "p.proowner", "t.typowner"].iter().fold(DESCRIBE.to_owned(), |sql, column| {
        let told = format!("pg_get_userbyid({column})");
        sql.replace(&told, &format!("CASE {column} WHEN {former} THEN '{owner}' ELSE {told}::text END"))
    })
}

/// Whether this is a foreign key of a product's table that refers to a table of Freehold's.
fn is_link(object: &str, told: &str) -> bool {
    let is_products = object.starts_with("constraint ") && !object.starts_with("constraint freehold.");
    is_products && told.starts_with("FOREIGN KEY ") && told.contains(" REFERENCES freehold.")
}

/// A name with its last part apart, at the last point that is not within quotes.
fn parted(name: &str) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    let points = name.char_indices().filter(|(_, c)| {
        is_quoted ^= *c == '"';
        *c == '.' && !is_quoted
    });
    let (at, _) = points.last()?;
    Some((&name[..at], &name[at + 1..]))
}

/// The definition of an object. The roles of a policy are part of what it is.
fn without_rights(object: &str, told: &str) -> String {
    if object.starts_with("policy ") { told.to_owned() } else { apart(told).0.to_owned() }
}

/// A definition, and the rights that are told with it.
fn apart(told: &str) -> (&str, Option<&str>) {
    told.rsplit_once(GRANTED).map_or((told, None), |(definition, rights)| (definition, Some(rights)))
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
    fn what_is_adopted_is_compared_without_rights_and_without_what_freehold_brings() {
        let reference = schema(&[
            ("relation public.notes", "table owner freehold_owner GRANTED freehold_owner=r/freehold_owner"),
            ("relation public.refinery_schema_history", "table owner freehold_owner GRANTED x=r/x"),
            ("schema freehold", "owner freehold_owner GRANTED x=U/x"),
            ("relation freehold.users", "table owner freehold_owner GRANTED x=r/x"),
            ("parent freehold.a of freehold.b", ""),
            ("default privileges of freehold_owner on tables", " GRANTED x=r/x"),
        ]);
        let found = schema(&[("relation public.notes", "table owner freehold_owner GRANTED app=arw/shop")]);
        assert_eq!(reference.differences_to_adopt(&found), []);
        let more = schema(&[
            ("relation public.notes", "table owner freehold_owner"),
            ("relation public.refinery_schema_history", "view owner freehold_owner"),
            ("relation public.more", "table owner freehold_owner"),
        ]);
        let differing: Vec<_> = reference.differences_to_adopt(&more).into_iter().map(|found| found.object).collect();
        assert_eq!(differing, ["relation public.more", "relation public.refinery_schema_history"]);
        assert_eq!(reference.rights().next().unwrap().2, ["x=r/x"]);
        let hidden = schema(&[
            ("index public.refinery_schema_history_i", "CREATE INDEX on notes"),
            ("index public.\" of freehold.\"", "CREATE INDEX on notes"),
            ("policy public.notes.p", "PERMISSIVE FOR r GRANTED shop_app"),
        ]);
        let told: Vec<_> = Schema::default().differences_to_adopt(&hidden).into_iter().map(|one| one.object).collect();
        assert_eq!(told.len(), 3, "no name hides an object: {told:?}");
        let rights = schema(&[("column public.notes.\"a.b\"", "text GRANTED x=w/x")]);
        assert_eq!(rights.column_rights().collect::<Vec<_>>(), [("public.notes", "\"a.b\"", vec!["x=w/x"])]);
        let other = schema(&[("policy public.notes.p", "PERMISSIVE FOR r GRANTED -")]);
        assert_eq!(other.differences_to_adopt(&hidden).len(), 3, "the roles of a policy are what it is");
    }

    #[test]
    fn foreign_keys_to_freeholds_tables_are_made_later() {
        let told = "FOREIGN KEY (created_by) REFERENCES freehold.users(id) ON DELETE SET NULL";
        let reference = schema(&[(r#"constraint public."a.b".notes_fkey"#, told), ("constraint freehold.a.b", told)]);
        assert_eq!(reference.differences_to_adopt(&Schema::default()), []);
        let lacking: Vec<_> = reference.links_lacking(&Schema::default()).map(|(_, statement)| statement).collect();
        assert_eq!(lacking, [format!(r#"ALTER TABLE public."a.b" ADD CONSTRAINT notes_fkey {told}"#)]);
        assert_eq!(reference.links_lacking(&reference).count(), 0);
        assert_eq!(parted(r#"public.t."x.y""#), Some(("public.t", r#""x.y""#)));
    }

    #[test]
    fn every_owner_can_be_told_as_another() {
        let sql = describe_as(16_400, "freehold_owner");
        assert_eq!(sql.matches("WHEN 16400 THEN 'freehold_owner'").count(), 4);
        let told = sql.matches("pg_get_userbyid(").count() - sql.matches("pg_get_userbyid(defaclrole)").count();
        assert_eq!(told, 4, "an owner is told that this does not know");
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
