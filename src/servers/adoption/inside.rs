//! What is in a database that changes hands: its objects, their owner, and who has which rights on them.

use std::{borrow::Borrow, collections::BTreeMap};

use tokio_postgres::{Client, Row, Transaction};

use super::{FormerOwner, Obstacle};
use crate::{
    error::{Result, first_of},
    servers::{OWNER_ROLE, ServerVersion, TENANT_ROLE, quote_ident},
    types::{DbName, Stream},
};

const OBJECTS: &str = include_str!("objects.sql");
const STRANGE: &str = include_str!("strange.sql");
/// So that each name is written out in full, and nothing of the database's is taken for PostgreSQL's. A lock that is not
/// to be had is somebody's who is still there. A replica that stops within a transaction holds nobody up for long.
const SETTINGS: &str = "SET search_path = pg_catalog, pg_temp; SET lock_timeout = '2s'; SET statement_timeout = '60s';
    SET idle_in_transaction_session_timeout = '10s'; SET default_transaction_read_only = off";
/// What gives the rights `$5` on the columns `$4` of the objects `$3` of the classes `$2`, whoever has any; with the places
/// `$1` of the objects. Without a column it is the object's own.
const GRANTS: &str = "
    SELECT w.place, format('GRANT %s ON %s %s TO %s%s',
                  string_agg(a.privilege_type || coalesce(' (' || w.part || ')', ''), ', '), w.class, w.name,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
      FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::text[]) AS w(place, class, name, part, acl),
           aclexplode(string_to_array(w.acl, E'\\n')::aclitem[]) a
     GROUP BY w.place, w.class, w.name, w.part, a.grantee, a.is_grantable";
const HISTORY: &str = "public.refinery_schema_history";
/// How many objects an obstacle names.
const NAMED: usize = 10;

/// The rights on an object, as a reference has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// `TABLE`, as GRANT calls it.
    class: &'static str,
    /// Its full name, quoted where it has to be.
    name: String,
    /// The column of it that they are on; all of it otherwise.
    column: Option<String>,
    /// Who may what, as PostgreSQL writes it.
    acl: Vec<String>,
}

impl Right {
    /// The rights on a column of a table, view or the like, with their names as a schema's description has them.
    #[must_use]
    pub fn on_column(table: &str, column: &str, acl: &[&str]) -> Self {
        let acl = acl.iter().map(|&item| item.to_owned()).collect();
        Self { class: "TABLE", name: table.to_owned(), column: Some(column.to_owned()), acl }
    }

    /// The rights on an object of a schema's description; none on what has none, and on single columns.
    #[must_use]
    pub fn on(object: &str, definition: &str, acl: &[&str]) -> Option<Self> {
        let (kind, name) = object.split_once(' ')?;
        let definition = definition.strip_prefix("unlogged ").unwrap_or(definition);
        let class = match kind {
            "schema" => "SCHEMA",
            "type" => "TYPE",
            "function" => "ROUTINE",
            "relation" if definition.starts_with("sequence ") => "SEQUENCE",
            "relation" if !definition.starts_with("composite type ") => "TABLE",
            _ => return None,
        };
        let acl = acl.iter().map(|&item| item.to_owned()).collect();
        Some(Self { class, name: name.to_owned(), column: None, acl })
    }
}

/// An object that can be handed over.
#[derive(Clone, Debug)]
struct Object {
    /// As GRANT calls it; none when nobody can be given rights on it.
    class: Option<String>,
    name: String,
    /// Its owner's name.
    owner: String,
    is_owners: bool,
    /// Whether it belongs to whoever owns the database.
    is_databases: bool,
    /// `ALTER TABLE … OWNER TO `; none when it is another's, or goes with another object.
    alter: Option<String>,
    is_passed_on: bool,
    grantees: Vec<String>,
    grants: Vec<String>,
}

/// What is in a database that changes hands.
#[derive(Clone, Debug)]
pub struct Inside {
    objects: Vec<Object>,
    strange: Vec<Obstacle>,
}

impl Object {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            class: row.try_get("class")?,
            name: row.try_get("name")?,
            owner: row.try_get("owner")?,
            is_owners: row.try_get("is_owners")?,
            is_databases: row.try_get("is_databases")?,
            alter: row.try_get("alter")?,
            is_passed_on: row.try_get("is_passed_on")?,
            grantees: row.try_get("grantees")?,
            grants: row.try_get("grants")?,
        })
    }

    /// Takes all rights on it from these roles.
    fn revoke(&self, from: &[impl Borrow<str>]) -> Option<String> {
        let class = self.class.as_deref()?;
        (!from.is_empty()).then(|| format!("REVOKE ALL ON {class} {} FROM {}", self.name, from.join(", ")))
    }
}

impl Inside {
    /// Prepares the session for all that is done here.
    pub async fn enter(session: &Client) -> Result<()> {
        Ok(session.batch_execute(SETTINGS).await?)
    }

    /// Reads it.
    pub async fn of(session: &Client, owner: &FormerOwner) -> Result<Self> {
        let objects = session.query(OBJECTS, &[&owner.oid]).await?;
        let objects = objects.iter().map(Object::from_row).collect::<Result<_>>()?;
        let strange = session.query(STRANGE, &[]).await?;
        let obstacle = |row: &Row| Ok(Obstacle::new(code(row.try_get("about")?), row.try_get::<_, String>("detail")?));
        Ok(Self { objects, strange: strange.iter().map(obstacle).collect::<Result<_>>()? })
    }

    /// Whether the product's history is there.
    #[must_use]
    pub fn has_history(&self) -> bool {
        self.objects.iter().any(|object| object.name == HISTORY && object.class.as_deref() == Some("TABLE"))
    }

    /// Begins a transaction in which this session has the owner's rights, and the product's history stays what it is.
    /// Only `ROLLBACK` ends it.
    pub async fn look_as(session: &Client, (owner, version): (&FormerOwner, ServerVersion)) -> Result<()> {
        let (take, _) = owner.borrow(version.has_membership_options());
        session.batch_execute(&format!("BEGIN; {take}")).await?;
        let sql =
            "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind = 'r' AND relowner = $2)";
        if session.query_one(sql, &[&HISTORY, &owner.oid]).await?.try_get(0)? {
            session.batch_execute(&format!("LOCK TABLE {HISTORY} IN ACCESS SHARE MODE")).await?;
        }
        Ok(())
    }

    /// What stands in the way.
    #[must_use]
    pub fn obstacles(&self) -> Vec<Obstacle> {
        let mut obstacles = self.strange.clone();
        let is_public = |object: &&Object| object.name == "public" && object.class.as_deref() == Some("SCHEMA");
        if self.objects.iter().any(|object| is_public(&object) && object.is_owners) {
            let detail = "the schema public belongs to a role: ALTER SCHEMA public OWNER TO pg_database_owner";
            obstacles.push(Obstacle::new("foreign_objects", detail));
        }
        let others = self.objects.iter().filter(|object| !object.is_owners && !object.is_databases);
        let others: Vec<_> = others.map(|object| format!("{} of {}", object.name, object.owner)).collect();
        if !others.is_empty() {
            let detail = format!("objects belong to another role than the database: {}", first_of(&others, NAMED));
            obstacles.push(Obstacle::new("foreign_objects", detail));
        }
        let passed_on = self.objects.iter().filter(|object| object.is_passed_on);
        let passed_on: Vec<_> = passed_on.map(|object| object.name.clone()).collect();
        if !passed_on.is_empty() {
            let detail =
                format!("rights were granted by another role than the owner, on: {}", first_of(&passed_on, NAMED));
            obstacles.push(Obstacle::new("rights_passed_on", detail));
        }
        obstacles
    }

    /// The statements, in order, that make all of it in the database `database` what it is now, after it was handed over.
    /// `history` is the newest version that the product's history names; `without_defaults` takes the default privileges
    /// away that Freehold sets.
    ///
    /// # Errors
    /// A defect.
    pub fn way_back(
        &self,
        owner: &FormerOwner,
        database: DbName,
        (history, without_defaults): (i32, &str),
    ) -> Result<Vec<String>> {
        let tenant = quote_ident(TENANT_ROLE)?;
        let history = if self.has_history() {
            // What was added to it.
            format!("DELETE FROM {HISTORY} WHERE version > {history}")
        } else {
            format!("DROP TABLE IF EXISTS {HISTORY}")
        };
        let mut statements = vec![
            format!("DROP SCHEMA IF EXISTS {} CASCADE", quote_ident(Stream::Freehold.schema())?),
            history,
            without_defaults.to_owned(),
            // First: who owns the database may create objects in `public`, and then own some there.
            format!("ALTER DATABASE {} OWNER TO {}", quote_ident(&database.to_string())?, owner.quoted),
        ];
        let back = self.objects.iter().filter_map(|object| object.alter.as_ref());
        statements.extend(back.map(|alter| format!("{alter}{}", owner.quoted)));
        for object in &self.objects {
            statements.extend(object.revoke(&["PUBLIC", &tenant, &owner.quoted]));
            statements.extend(object.grants.iter().cloned());
        }
        Ok(statements)
    }

    /// Hands all of it to Freehold's owner, with the rights that a reference has, and does `then` as that owner: all in
    /// one transaction.
    ///
    /// # Errors
    /// Unavailable when a lock is not to be had; otherwise PostgreSQL's.
    pub async fn hand_over(
        &self,
        session: &mut Client,
        (owner, version): (&FormerOwner, ServerVersion),
        rights: &[Right],
        then: &str,
    ) -> Result<()> {
        let freehold = quote_ident(OWNER_ROLE)?;
        let txn = session.transaction().await?;
        let (take, give) = owner.borrow(version.has_membership_options());
        let mut statements = vec![take];
        let alters = self.objects.iter().filter_map(|object| object.alter.as_ref());
        statements.extend(alters.map(|alter| format!("{alter}{freehold};")));
        statements.extend([give, format!("SET LOCAL ROLE {freehold}")]);
        txn.batch_execute(&statements.join("\n")).await?;
        // Read anew: with the owner, the rights have changed.
        let now = txn.query(OBJECTS, &[&owner.oid]).await?;
        let now = now.iter().map(Object::from_row).collect::<Result<Vec<_>>>()?;
        txn.batch_execute(&statements_for(&txn, &now, rights).await?.join("; ")).await?;
        txn.batch_execute(then).await?;
        Ok(txn.commit().await?)
    }

    /// Undoes [`hand_over`](Self::hand_over), and all that was made since, by these statements: all in one transaction.
    ///
    /// # Errors
    /// As [`hand_over`](Self::hand_over).
    pub async fn hand_back(
        session: &mut Client,
        (owner, version): (&FormerOwner, ServerVersion),
        statements: &[String],
    ) -> Result<()> {
        let (take, give) = owner.borrow(version.has_membership_options());
        let txn = session.transaction().await?;
        txn.batch_execute(&format!("{take} {}; {give}", statements.join("; "))).await?;
        Ok(txn.commit().await?)
    }

    /// Whether it was handed over: the schema of Freehold's stream is made in the same transaction.
    pub async fn is_handed_over(session: &Client) -> Result<bool> {
        let sql =
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
                                   WHERE n.nspname = $1 AND r.rolname = $2)";
        Ok(session.query_one(sql, &[&Stream::Freehold.schema(), &OWNER_ROLE]).await?.try_get(0)?)
    }
}

/// The statements that give these objects just the rights that a reference has. An object that it has no rights on is left.
async fn statements_for(txn: &Transaction<'_>, objects: &[Object], rights: &[Right]) -> Result<Vec<String>> {
    let mut wanted = BTreeMap::<_, Vec<&Right>>::new();
    for right in rights {
        wanted.entry((right.class, right.name.as_str())).or_default().push(right);
    }
    let known: Vec<_> = objects
        .iter()
        .filter_map(|object| {
            let rights = wanted.get(&(object.class.as_deref()?, object.name.as_str()))?;
            Some((object, rights))
        })
        .collect();
    let each =
        || known.iter().zip(0_i64..).flat_map(|((_, rights), place)| rights.iter().map(move |right| (place, right)));
    let places: Vec<_> = each().map(|(place, _)| place).collect();
    let classes: Vec<_> = each().map(|(_, right)| right.class).collect();
    let names: Vec<_> = each().map(|(_, right)| right.name.as_str()).collect();
    let columns: Vec<_> = each().map(|(_, right)| right.column.as_deref()).collect();
    let acls: Vec<_> = each().map(|(_, right)| right.acl.join("\n")).collect();
    let mut granted = BTreeMap::<i64, Vec<String>>::new();
    for row in txn.query(GRANTS, &[&places, &classes, &names, &columns, &acls]).await? {
        granted.entry(row.try_get("place")?).or_default().push(row.try_get("statement")?);
    }
    // One object after the other, schemas first: without rights on a schema nobody grants any on what is in it.
    let mut statements = Vec::new();
    for ((object, _), place) in known.iter().zip(0..) {
        statements.extend(object.revoke(&object.grantees));
        statements.extend(granted.remove(&place).unwrap_or_default());
    }
    Ok(statements)
}

/// The code of what [`STRANGE`] finds.
fn code(about: &str) -> &'static str {
    match about {
        "extension" => "extension_not_allowed",
        "schema" => "schema_taken",
        "history" => "history_differs",
        _ => "foreign_objects",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_off_a_description() {
        let on = |object: &str, definition: &str| Right::on(object, definition, &["=X/o"]).map(|right| right.class);
        assert_eq!(on("relation public.s", "sequence owner o"), Some("SEQUENCE"));
        assert_eq!(on("relation public.u", "unlogged sequence owner o"), Some("SEQUENCE"));
        assert_eq!(on("relation public.v", "view owner o AS SELECT 1"), Some("TABLE"));
        assert_eq!(on("relation public.c", "composite type owner o a"), None);
        assert_eq!(on("function public.f(integer)", "owner o"), Some("ROUTINE"));
        assert_eq!(on("column public.t.a", "text"), None);
        let right = Right::on("function public.f(integer,text)", "owner o", &["=X/o"]).unwrap();
        assert_eq!((right.name.as_str(), &right.acl[..]), ("public.f(integer,text)", &["=X/o".to_owned()][..]));
    }
}
