//! What a database's schema really is, object by object, and its fingerprint: what drift is found by.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use aws_lc_rs::digest;
use tokio_postgres::Client;

use crate::error::Result;

const DESCRIBE: &str = include_str!("schema.sql");
/// So that every name is written out in full, and a statement that hangs does not hold up more than itself.
const SETTINGS: &str = "SET LOCAL search_path = pg_catalog; SET LOCAL statement_timeout = '10s'";

/// A database's schema: objects and their definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    objects: BTreeMap<String, String>,
}

impl Schema {
    /// Reads the schema of the database that `session` is in. Any login may: catalogues are open to everybody.
    pub async fn of(session: &mut Client) -> Result<Self> {
        let txn = session.transaction().await?;
        txn.batch_execute(SETTINGS).await?;
        let rows = txn.query(DESCRIBE, &[]).await?;
        txn.rollback().await?;
        let objects = rows.iter().map(|row| Ok((row.try_get("object")?, row.try_get("definition")?)));
        Ok(Self { objects: objects.collect::<Result<_>>()? })
    }

    /// The objects that `restored`, made out of a dump of this, lacks, has beyond this, or has otherwise. PostgreSQL writes
    /// an expression back with other casts and parentheses than it was given: that is no difference.
    #[must_use]
    pub fn differences<'a>(&'a self, restored: &'a Self) -> Vec<&'a str> {
        let is_same = |object: &String, definition: &String| {
            restored.objects.get(object).is_some_and(|other| loosened(other) == loosened(definition))
        };
        let changed = self.objects.iter().filter(|(object, definition)| !is_same(object, definition));
        let added = restored.objects.keys().filter(|object| !self.objects.contains_key(*object));
        changed.map(|(object, _)| object.as_str()).chain(added.map(String::as_str)).collect()
    }

    /// SHA-256 over all objects and definitions, in hexadecimal: equal schemas have equal fingerprints.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(self.objects.iter().flat_map(|(object, definition)| [object.as_bytes(), definition.as_bytes()]))
    }

    /// What is another in `later`, or in one of the two only, of the objects in the PostgreSQL schema `schema`.
    #[must_use]
    pub fn changes_within<'a>(&'a self, schema: &str, later: &'a Self) -> BTreeSet<&'a str> {
        let all = self.objects.keys().chain(later.objects.keys());
        let changed = |object: &&String| self.objects.get(*object) != later.objects.get(*object);
        all.filter(|object| is_within(object, schema)).filter(changed).map(String::as_str).collect()
    }
}

/// Whether `object`, a kind and a full name, is the PostgreSQL schema `schema` or in it.
fn is_within(object: &str, schema: &str) -> bool {
    let Some((_, name)) = object.split_once(' ') else { return false };
    name.strip_prefix(schema).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A definition without parentheses, blanks and casts.
fn loosened(definition: &str) -> String {
    let mut parts = definition.split("::");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| kept.push_str(after_type(part)));
    kept.retain(|c| !c.is_whitespace() && !matches!(c, '(' | ')'));
    kept
}

/// What follows the name of a type: `character varying(20)[]`, `timestamp(3) with time zone`, `public."State"`.
fn after_type(text: &str) -> &str {
    let mut rest = text.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '"'));
    loop {
        let size = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let size =
            size.filter(|(inner, _)| inner.chars().all(|c| c.is_ascii_digit() || c == ',')).map(|(_, after)| after);
        let words = [" varying", " precision", " with time zone", " without time zone", "[]"];
        match size.or_else(|| words.iter().find_map(|word| rest.strip_prefix(word))) {
            Some(after) => rest = after,
            None => return rest,
        }
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
    context.finish().as_ref().iter().fold(String::new(), |mut hex, byte| {
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
        let made = schema(&[("constraint orders.state", made), ("relation orders", "r p freehold_owner")]);
        let same = schema(&[("constraint orders.state", restored), ("relation orders", "r p freehold_owner")]);
        assert_eq!(made.differences(&same), Vec::<&str>::new());
        assert_eq!(loosened("(a)::timestamp(3) with time zone AND b"), loosened("a AND b::public.\"B\"[]"));
        let other = schema(&[("relation orders", "r p postgres"), ("relation more", "r")]);
        assert_eq!(made.differences(&other), ["constraint orders.state", "relation orders", "relation more"]);
    }

    #[test]
    fn changes_are_told_of_one_schema_alone() {
        let before = schema(&[
            ("schema freehold", "owner"),
            ("relation freehold.users", "r"),
            ("relation freehold.gone", "r"),
            ("relation freeholders.users", "r"),
            ("relation public.users", "r"),
        ]);
        let after = schema(&[
            ("schema freehold", "PUBLIC"),
            ("relation freehold.users", "r"),
            ("column freehold.users.added", "text"),
            ("relation freeholders.users", "v"),
        ]);
        let changed = ["column freehold.users.added", "relation freehold.gone", "schema freehold"];
        assert_eq!(before.changes_within("freehold", &after), BTreeSet::from(changed));
        assert!(before.changes_within("freehold", &before).is_empty());
    }
}
