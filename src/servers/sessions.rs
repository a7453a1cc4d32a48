//! Sessions in a tenant's database, or in a template that was not finished: who is there, and ending them.
//!
//! A role ends the sessions of roles whose rights it has. The administrative role has those of no tenant, and must
//! not collect a membership in each of thousands: it takes one for the moment. Taken, used and given back in one
//! message to the server, which is one transaction of its own: no other session ever sees the membership, and an
//! error, a cancelled caller or a killed replica leaves nothing of it behind.
//!
//! This must never be used on a database that is not Freehold's, and never ends what runs for the server itself
//! (autovacuum): DROP DATABASE does that on its own.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;
use tokio_postgres::Row;

use super::{ServerAdmin, quote_ident, quote_literal};
use crate::{
    error::{Error, Result},
    types::DbName,
};

/// How long told sessions may take to end (docs: the table of waits).
const END_WAIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// All that users, or workers for them, run in a database. `held`: whose session this role can end as it is;
/// `grantable`: whose membership it may take. Before PostgreSQL 16 that is every role's but a superuser's, for whoever
/// has CREATEROLE; later the roles' that it made or was given with ADMIN OPTION. A superuser's session can be
/// ended by superusers only. The role of a session may be gone already: then there is nobody's membership to take.
const SESSIONS: &str = "
    SELECT a.pid, coalesce(a.usename::text, 'a dropped role') AS role,
           coalesce(NOT r.rolsuper, true) AND
               coalesce(pg_has_role(a.usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'), false) AS held,
           coalesce(NOT r.rolsuper AND (NOT $2 OR pg_has_role(a.usesysid, 'MEMBER WITH ADMIN OPTION')), false)
               AS grantable
      FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid
     WHERE a.datname = $1 AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
       AND ($3::text IS NULL OR a.usename = $3)";

/// A session of some user in the database.
struct Session {
    pid: i32,
    role: String,
    reach: Reach,
}

/// What it takes to end a session.
#[derive(PartialEq, Eq)]
enum Reach {
    /// Nothing more than this role has.
    Held,
    /// Membership in the session's role, whose quoted name this is.
    Grantable(String),
    /// More than this role can get.
    Beyond,
}

impl Session {
    fn from_row(row: &Row) -> Result<Self> {
        let role: String = row.try_get("role")?;
        let reach = match (row.try_get("held")?, row.try_get("grantable")?) {
            (true, _) => Reach::Held,
            // Somebody else's role may have a name that never goes into DDL of ours.
            (false, true) => quote_ident(&role).map_or(Reach::Beyond, Reach::Grantable),
            (false, false) => Reach::Beyond,
        };
        Ok(Self { pid: row.try_get("pid")?, role, reach })
    }
}

impl ServerAdmin {
    /// Ends all sessions in the tenant's database, whoever's they are, and waits (5 s at most) until they are gone.
    /// Answers how many there were. Does not keep new ones out: the caller has denied the login, or closed the
    /// database, before.
    ///
    /// # Errors
    /// `database_in_use` when sessions are left that this role may not end, a superuser's above all; unavailable
    /// when others do not end in time, or new ones keep coming.
    pub async fn terminate_sessions(&self, database: DbName) -> Result<u64> {
        self.terminate_sessions_of(&database.to_string(), None).await
    }

    /// The same in any database of Freehold's; of one role's sessions alone, if there is one.
    pub(super) async fn terminate_sessions_of(&self, database: &str, role: Option<&str>) -> Result<u64> {
        let deadline = Instant::now() + END_WAIT;
        let mut told = BTreeSet::new();
        loop {
            let sessions = self.sessions(database, role).await?;
            let (beyond, reachable): (Vec<_>, Vec<_>) = sessions.iter().partition(|s| s.reach == Reach::Beyond);
            if reachable.is_empty() && !beyond.is_empty() {
                return Err(beyond_reach(database, &beyond));
            }
            if reachable.is_empty() {
                return Ok(told.len() as u64);
            }
            if Instant::now() >= deadline {
                let cause = anyhow::anyhow!("{} sessions in {database} do not end", reachable.len());
                return Err(super::errors::unavailable(cause));
            }
            let untold: Vec<_> = reachable.into_iter().filter(|session| told.insert(session.pid)).collect();
            self.terminate(database, &untold).await?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn sessions(&self, database: &str, role: Option<&str>) -> Result<Vec<Session>> {
        let memberships_have_options = self.version().has_membership_options();
        let rows = self.query(SESSIONS, &[&database, &memberships_have_options, &role]).await?;
        rows.iter().map(Session::from_row).collect()
    }

    async fn terminate(&self, database: &str, sessions: &[&Session]) -> Result<()> {
        if sessions.is_empty() {
            return Ok(());
        }
        let statements = terminate_sql(database, sessions, self.version().has_membership_options())?;
        Ok(self.batch_execute(&statements).await?)
    }
}

/// One message: without a BEGIN of its own, PostgreSQL runs all of its statements in one transaction.
fn terminate_sql(database: &str, sessions: &[&Session], membership_options: bool) -> Result<String> {
    let pids: Vec<_> = sessions.iter().map(|session| session.pid.to_string()).collect();
    // The name is asked for again: a number may have passed on to another database's session meanwhile.
    let terminate = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = {} AND pid IN ({})",
        quote_literal(database)?,
        pids.join(", ")
    );
    let roles: BTreeSet<_> = sessions.iter().filter_map(|session| session.reach.role_to_join()).collect();
    if roles.is_empty() {
        return Ok(terminate);
    }
    let roles = roles.into_iter().collect::<Vec<_>>().join(", ");
    let options = if membership_options { " WITH INHERIT TRUE, SET FALSE" } else { "" };
    Ok(format!("GRANT {roles} TO CURRENT_USER{options}; {terminate}; REVOKE {roles} FROM CURRENT_USER"))
}

impl Reach {
    fn role_to_join(&self) -> Option<&str> {
        if let Self::Grantable(role) = self { Some(role) } else { None }
    }
}

fn beyond_reach(database: &str, sessions: &[&Session]) -> Error {
    let roles: BTreeSet<_> = sessions.iter().map(|session| session.role.as_str()).collect();
    let roles = roles.into_iter().collect::<Vec<_>>().join(", ");
    let detail = format!(
        "sessions in the database {database} that the administrative role may not end: {} (of {roles}); end them, or \
         let it end all but a superuser's: GRANT pg_signal_backend TO it",
        sessions.len()
    );
    Error::conflict("database_in_use", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(pid: i32, reach: Reach) -> Session {
        Session { pid, role: String::new(), reach }
    }

    #[test]
    fn a_membership_is_taken_once_and_only_where_it_is_needed() {
        let joined = || Reach::Grantable("\"tenant_a\"".to_owned());
        let sessions = [session(1, joined()), session(2, Reach::Held), session(3, joined())];
        let sessions: Vec<_> = sessions.iter().collect();
        let sql = terminate_sql("tenant_a", &sessions, true).unwrap();
        assert!(sql.starts_with("GRANT \"tenant_a\" TO CURRENT_USER WITH INHERIT TRUE, SET FALSE; SELECT "), "{sql}");
        assert!(sql.ends_with(" pid IN (1, 2, 3); REVOKE \"tenant_a\" FROM CURRENT_USER"), "{sql}");
        assert!(terminate_sql("tenant_a", &sessions[1..2], true).unwrap().starts_with("SELECT "));
    }
}
