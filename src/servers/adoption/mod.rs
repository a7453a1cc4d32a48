//! A database that somebody else has made, on its way to a tenant: what is to be known of it, and how it changes hands.
//!
//! It takes its new name and its new owner in one transaction. PostgreSQL renames a database only while nobody is in it;
//! afterwards nobody finds it under the name that they know, and nobody but Freehold may connect. What is in it changes
//! hands in one transaction too ([`inside`]). Before each of the two it is written down what makes everything what it was.
//!
//! Names here are other people's. PostgreSQL itself quotes them, and nothing else puts them into a statement.
//!
//! The administrative role is a member of the former owner for the length of a transaction only.

mod inside;

use tokio_postgres::{Row, error::SqlState};

pub use inside::{Inside, Right};

use super::{OWNER_ROLE, ServerAdmin, TENANT_ROLE, is_sqlstate, quote_ident};
use crate::{
    error::{Error, Result},
    types::DbName,
};

const OUTSIDE: &str = include_str!("outside.sql");
/// The longest name that PostgreSQL keeps, in bytes.
const MAX_NAME: usize = 63;
/// Ends the sessions in which Freehold looks into the database whose quoted name is `$1`. They have changed nothing.
const END_LOOKS: &str = "
    SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
     WHERE quote_ident(a.datname) = $1 AND a.usename = current_user AND a.application_name LIKE 'freehold:%'
       AND a.pid <> pg_backend_pid()";
/// Who has rights on the database `$1` but its owner, quoted, and whether settings hang on it.
const OTHERS: &str = "
    SELECT ARRAY(SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
                   FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee <> d.datdba) AS others,
           EXISTS (SELECT FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) AS has_settings
      FROM pg_database d WHERE d.datname = $1";

/// A reason why a database cannot become a tenant's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = AdoptionConflict)]
pub struct Obstacle {
    /// Stable code.
    pub code: String,
    /// For people, with what would mend it.
    pub detail: String,
}

impl Obstacle {
    /// One reason.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.to_owned(), detail: detail.into() }
    }
}

/// A role that owns what is to change hands, and how this session comes by its rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerOwner {
    /// PostgreSQL's number of it.
    pub oid: u32,
    /// Its name, quoted.
    quoted: String,
    /// Whether this session has its rights without taking them.
    is_held: bool,
}

/// A database that somebody else has made.
#[derive(Clone, Debug)]
pub struct Found {
    /// Who owns it.
    pub owner: FormerOwner,
    /// The owner's name.
    pub owner_name: String,
    /// Its own name, quoted.
    quoted: String,
    /// The statements that give its rights anew.
    grants: Vec<String>,
    /// The statement that comments on it as somebody did.
    comment: String,
    /// What stands in the way.
    pub obstacles: Vec<Obstacle>,
}

impl FormerOwner {
    /// The statements that take its rights and give them back.
    fn borrow(&self, has_options: bool) -> (String, String) {
        if self.is_held {
            return (String::new(), String::new());
        }
        let (role, options) = (&self.quoted, if has_options { " WITH INHERIT TRUE, SET TRUE" } else { "" });
        (format!("GRANT {role} TO CURRENT_USER{options};"), format!("REVOKE {role} FROM CURRENT_USER;"))
    }
}

impl Found {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            owner: FormerOwner {
                oid: row.try_get("owner_oid")?,
                quoted: row.try_get("quoted_owner")?,
                is_held: row.try_get("is_held")?,
            },
            owner_name: row.try_get("owner")?,
            quoted: row.try_get("quoted")?,
            grants: row.try_get("grants")?,
            comment: row.try_get("comment")?,
            obstacles: obstacles(row)?,
        })
    }

    /// The statements that make the database `taken` what this one is.
    ///
    /// # Errors
    /// A defect.
    pub fn way_back(&self, taken: DbName) -> Result<Vec<String>> {
        let (name, taken) = (&self.quoted, quote_ident(&taken.to_string())?);
        let mut statements = vec![
            format!("ALTER DATABASE {taken} OWNER TO {}", self.owner.quoted),
            format!("ALTER DATABASE {taken} RENAME TO {name}"),
            format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC, {}, {}", self.owner.quoted, quote_ident(OWNER_ROLE)?),
        ];
        statements.extend(self.grants.iter().cloned());
        statements.push(self.comment.clone());
        Ok(statements)
    }
}

/// Each reason why the database as a whole cannot change hands.
fn obstacles(row: &Row) -> Result<Vec<Obstacle>> {
    let (owner, quoted): (String, String) = (row.try_get("owner")?, row.try_get("quoted")?);
    let (quoted_owner, encoding): (String, String) = (row.try_get("quoted_owner")?, row.try_get("encoding")?);
    let sessions: Vec<String> = row.try_get("sessions")?;
    let (prepared, slots): (i64, i64) = (row.try_get("prepared")?, row.try_get("slots")?);
    let (is_superusers, is_held): (bool, bool) = (row.try_get("is_superusers")?, row.try_get("is_held")?);
    let is_freeholds = owner == OWNER_ROLE || owner == TENANT_ROLE;
    let is_plain = row.try_get("is_open")? && !row.try_get::<_, bool>("is_template")?;
    let checks = [
        (is_freeholds, "database_taken", "it belongs to Freehold already".to_owned()),
        (
            is_superusers,
            "owner_out_of_reach",
            format!("its owner {owner} is a superuser; give it, and what is in it, to another role first"),
        ),
        (
            !is_superusers && !is_held && !row.try_get::<_, bool>("is_grantable")?,
            "owner_out_of_reach",
            format!("the administrative role cannot act as its owner: GRANT {quoted_owner} TO it WITH ADMIN OPTION"),
        ),
        (!is_plain, "database_closed", "it is a template, or lets no session in".to_owned()),
        (
            row.try_get::<_, i32>("conn_limit")? != -1,
            "database_settings",
            format!("it has a connection limit; take it away with ALTER DATABASE {quoted} CONNECTION LIMIT -1"),
        ),
        (
            encoding != "UTF8",
            "database_encoding",
            format!("its encoding is {encoding}; tenants' databases are of UTF8"),
        ),
        (
            !row.try_get::<_, bool>("has_servers_locale")?,
            "database_locale",
            "its locale is not the server's own, which an archive of it would be restored with".to_owned(),
        ),
        (
            row.try_get::<_, i64>("settings")? > 0,
            "database_settings",
            format!(
                "settings hang on it; take them away with ALTER DATABASE {quoted} RESET ALL, and those of roles in it"
            ),
        ),
        (
            row.try_get("is_passed_on")?,
            "rights_passed_on",
            "rights on it were granted by another role than its owner, and could not be given back".to_owned(),
        ),
        (
            !sessions.is_empty(),
            "database_in_use",
            format!("sessions are in it: those of {}; stop whoever uses it", sessions.join(", ")),
        ),
        (
            prepared > 0 || slots > 0,
            "database_in_use",
            format!("it has {prepared} prepared transactions and {slots} replication slots"),
        ),
    ];
    let found = checks.into_iter().filter(|(is_there, ..)| *is_there);
    Ok(found.map(|(_, code, detail)| Obstacle::new(code, detail)).collect())
}

impl ServerAdmin {
    /// A database that may become a tenant's, and what stands in its way. None of that name: none.
    pub async fn find_foreign(&self, name: &str) -> Result<Option<Found>> {
        if name.len() > MAX_NAME || name.contains('\0') {
            return Ok(None);
        }
        let row = self.query_opt(OUTSIDE, &[&name, &self.version().has_membership_options()]).await?;
        row.as_ref().map(Found::from_row).transpose()
    }

    /// Gives the database the name `taken` and Freehold's owner, and takes it from everybody else. All at once; not at
    /// all while somebody is in it. Who looks into it for Freehold, for another request or a replica that stopped, is
    /// thrown out.
    ///
    /// # Errors
    /// `database_in_use` (409); `database_taken` when there is one of the new name.
    pub async fn take_database(&self, found: &Found, taken: DbName) -> Result<()> {
        self.query(END_LOOKS, &[&found.quoted]).await?;
        let done = self.take(found, taken).await;
        if done.is_err() {
            self.batch_execute("ROLLBACK").await?;
        }
        done
    }

    /// The transaction of it, which an error leaves open.
    async fn take(&self, found: &Found, taken: DbName) -> Result<()> {
        let (from, name, owner) = (&found.quoted, quote_ident(&taken.to_string())?, quote_ident(OWNER_ROLE)?);
        let (take, give) = found.owner.borrow(self.version().has_membership_options());
        let sql = format!(
            "BEGIN; {take} ALTER DATABASE {from} RENAME TO {name}; ALTER DATABASE {name} OWNER TO {owner}; {give}"
        );
        self.batch_execute(&sql).await.map_err(refused)?;
        // From here on nobody else can change it. What was given since the look goes too.
        let row = self.query_one(OTHERS, &[&taken.to_string()]).await?;
        if row.try_get("has_settings")? {
            return Err(Error::conflict(
                "adoption_conflict",
                "settings were made for the database since it was looked at",
            ));
        }
        let others: Vec<String> = row.try_get("others")?;
        let revoke = format!("REVOKE ALL ON DATABASE {name} FROM {}", others.join(", "));
        let revoke = if others.is_empty() { String::new() } else { revoke };
        Ok(self.batch_execute(&format!("{revoke}; GRANT ALL ON DATABASE {name} TO {owner}; COMMIT")).await?)
    }

    /// Undoes [`take_database`](Self::take_database) by these statements, which [`Found::way_back`] has told. Nobody may
    /// be in the database. One that is not there, or was given back already, is left.
    ///
    /// # Errors
    /// `database_in_use`, `database_taken` (409).
    pub async fn give_database_back(&self, taken: DbName, owner: &FormerOwner, statements: &[String]) -> Result<()> {
        if self.database(&taken.to_string()).await?.is_none() {
            return Ok(());
        }
        let (take, give) = owner.borrow(self.version().has_membership_options());
        let sql = format!("{take} {}; {give}", statements.join("; "));
        self.batch_execute(&sql).await.map_err(refused)
    }

    /// The role of this number, as the owner of what was adopted.
    ///
    /// # Errors
    /// `owner_out_of_reach` (409) when there is no such role any more.
    pub async fn former_owner(&self, oid: u32) -> Result<FormerOwner> {
        let sql = "SELECT quote_ident(rolname) AS quoted,
                          rolname = current_user
                              OR CASE WHEN $2 THEN pg_has_role(oid, 'USAGE') AND pg_has_role(oid, 'SET')
                                      ELSE pg_has_role(oid, 'USAGE') END AS is_held
                     FROM pg_roles WHERE oid = $1";
        let row = self.query_opt(sql, &[&oid, &self.version().has_membership_options()]).await?;
        let gone = || Error::conflict("owner_out_of_reach", "the role that owned the database is gone");
        let row = row.ok_or_else(gone)?;
        Ok(FormerOwner { oid, quoted: row.try_get("quoted")?, is_held: row.try_get("is_held")? })
    }
}

fn refused(error: tokio_postgres::Error) -> Error {
    if is_sqlstate(&error, &SqlState::OBJECT_IN_USE) {
        return Error::conflict("database_in_use", "sessions are in the database; stop whoever uses it");
    }
    if is_sqlstate(&error, &SqlState::DUPLICATE_DATABASE) {
        return Error::conflict("database_taken", "there is another database of the name that it should have");
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(is_held: bool) -> FormerOwner {
        FormerOwner { oid: 16_400, quoted: "\"Shop\"".to_owned(), is_held }
    }

    #[test]
    fn rights_are_taken_for_the_moment_only_and_only_where_they_are_needed() {
        assert_eq!(owner(true).borrow(true), (String::new(), String::new()));
        let (take, give) = owner(false).borrow(true);
        assert_eq!(take, "GRANT \"Shop\" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE;");
        assert_eq!(give, "REVOKE \"Shop\" FROM CURRENT_USER;");
        assert!(!owner(false).borrow(false).0.contains("WITH"));
    }

    #[test]
    fn the_way_back_gives_name_owner_rights_and_comment_back_in_this_order() {
        let found = Found {
            owner: owner(false),
            owner_name: "Shop".to_owned(),
            quoted: "\"Shop DB\"".to_owned(),
            grants: vec!["GRANT CONNECT ON DATABASE \"Shop DB\" TO PUBLIC".to_owned()],
            comment: "COMMENT ON DATABASE \"Shop DB\" IS NULL".to_owned(),
            obstacles: Vec::new(),
        };
        let taken: DbName = "tenant_0190b6a4c1e87d3f8a2b5c6d7e8f9012".parse().unwrap();
        let back = found.way_back(taken).unwrap();
        assert_eq!(back[0], format!("ALTER DATABASE \"{taken}\" OWNER TO \"Shop\""));
        assert_eq!(back[1], format!("ALTER DATABASE \"{taken}\" RENAME TO \"Shop DB\""));
        assert_eq!(back[2], "REVOKE ALL ON DATABASE \"Shop DB\" FROM PUBLIC, \"Shop\", \"freehold_owner\"");
        assert_eq!(back[3..], [found.grants[0].clone(), found.comment.clone()]);
    }
}
