//! Whether a server and its administrative credential are fit for Freehold: said at registration, before the
//! first tenant, and whenever somebody asks, with what mends each finding. Read-only.

use serde::Serialize;
use tokio_postgres::{Row, error::SqlState};
use utoipa::ToSchema;

use super::{AdminUrl, Connector, OWNER_ROLE, ServerAdmin, ServerVersion, TENANT_ROLE, errors::describe};
use crate::error::{Error, FieldError, Result};

/// The field of the registration that all findings are about.
const FIELD: &str = "admin_url";
/// What operations and monitoring may hold on a server beside its budget.
const ADMINISTRATION: i64 = 8;

const OBSERVE: &str = "SELECT pg_is_in_recovery() AS standby, quote_ident(rolname) AS role, rolsuper, rolcreatedb, \
     rolcreaterole, rolinherit FROM pg_roles WHERE rolname = current_user";

/// Shared roles that somebody else made: from PostgreSQL 16 on they need an explicit ADMIN OPTION.
const FOREIGN_ROLES: &str = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY($1) \
     AND NOT pg_has_role(current_user, oid, 'MEMBER WITH ADMIN OPTION')";

/// Databases that others are made from, whose collations are of another version than the operating system's now.
/// `template0` has none recorded since PostgreSQL 15.
const COLLATIONS: &str = "SELECT datname::text AS name, datname LIKE 'freehold\\_template\\_%' AS is_ours FROM pg_database \
     WHERE (datname IN ('template0', 'template1') OR datname LIKE 'freehold\\_template\\_%') AND datcollversion IS NOT NULL \
       AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) ORDER BY datname";

/// The settings that keep sessions for others appeared over time: what is missing keeps none.
const CONNECTIONS: &str = "SELECT sum(CASE WHEN name = 'max_connections' THEN setting::bigint ELSE -setting::bigint END)::bigint \
     FROM pg_settings WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')";

/// Something about a server that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ServerFinding)]
pub struct Finding {
    /// Stable code.
    #[schema(example = "too_few_connections")]
    pub code: &'static str,
    /// Whether the server can be used all the same.
    pub severity: Severity,
    /// What is wrong, for people.
    pub message: String,
    /// What mends it.
    pub remedy: String,
}

/// Whether a server can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot: registration refuses it.
    Error,
    /// It can.
    Warning,
}

/// What is asked of a server.
#[derive(Clone, Copy, Debug)]
pub struct Demands {
    /// The most sessions in its tenant databases.
    pub connection_budget: i32,
    /// How many replicas are alive.
    pub replicas: i64,
    /// The most connections that they open to one tenant's database together.
    pub connections: i64,
}

impl Finding {
    fn error(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, message: message.into(), remedy: remedy.into() }
    }

    fn warning(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message, remedy) }
    }

    /// PUBLIC may enter a database that only its owner can close.
    #[must_use]
    pub fn open_to_public(database: &str) -> Self {
        let remedy = format!("as its owner: REVOKE ALL ON DATABASE {database} FROM PUBLIC");
        Self::warning("open_to_public", format!("PUBLIC may connect to the database {database}"), remedy)
    }

    /// The server does not answer, or refuses its credential.
    #[must_use]
    pub fn unreachable() -> Self {
        let remedy = "check host, port, firewall, certificate and password; the log has the reason";
        Self::error("server_unreachable", "no administrative session within 2 s", remedy)
    }

    /// Whether it keeps the server from being used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn into_field(self) -> FieldError {
        FieldError::new(FIELD, self.code, format!("{}; {}", self.message, self.remedy))
    }
}

impl ServerAdmin {
    /// Opens the first session with what an operator gave, and checks it: what keeps the server from being used is
    /// about their field; what does not is answered with.
    ///
    /// # Errors
    /// All at once on `admin_url`: `server_unreachable`, `login_refused`, `database_not_found`, and the errors of
    /// [`fitness`](Self::fitness).
    pub async fn first_contact(
        connector: &Connector,
        url: &AdminUrl,
        application_name: &str,
        demands: Demands,
    ) -> Result<(Self, Vec<Finding>)> {
        let config = connector.config(&url.address, &url.database, &url.credentials, application_name);
        let connection = match connector.open(&config).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                tracing::info!(error = describe(&error), "a server that was to be registered refuses its credential");
                return Err(refusal(error.code()).into());
            }
            Err(error) => {
                tracing::info!(error = error.chain(), "a server that was to be registered does not answer");
                return Err(refusal(None).into());
            }
        };
        let admin = Self::begin(connection, application_name).await?;
        let (errors, warnings): (Vec<_>, Vec<_>) =
            admin.fitness(demands).await?.into_iter().partition(Finding::is_error);
        if errors.is_empty() {
            return Ok((admin, warnings));
        }
        Err(Error::Validation(errors.into_iter().map(Finding::into_field).collect()))
    }

    /// Version, rights, collations and connections: `server_version_unsupported`, `server_is_standby`,
    /// `superuser_refused`, `missing_right`, `collation_mismatch`, `too_few_connections`, `pools_exceed_budget`.
    pub async fn fitness(&self, demands: Demands) -> Result<Vec<Finding>> {
        if self.version() < ServerVersion::OLDEST {
            let message = format!("the server runs PostgreSQL {}", self.version());
            return Ok(vec![Finding::error("server_version_unsupported", message, "upgrade it to 15 or newer")]);
        }
        let observed = self.query_one(OBSERVE, &[]).await?;
        let mut findings = judge(&observed, self.version())?;
        if self.version().has_membership_options() {
            findings.extend(self.foreign_roles(observed.try_get("role")?).await?);
        }
        findings.extend(self.collations().await?);
        findings.extend(judge_connections(self.query_one(CONNECTIONS, &[]).await?.try_get(0)?, demands));
        Ok(findings)
    }

    async fn foreign_roles(&self, admin: &str) -> Result<Vec<Finding>> {
        let shared = vec![OWNER_ROLE, TENANT_ROLE];
        let rows = self.query(FOREIGN_ROLES, &[&shared]).await?;
        let finding = |row: &Row| {
            let role: String = row.try_get(0)?;
            Ok(missing(&format!("rights over {role}"), &format!("GRANT {role} TO {admin} WITH ADMIN OPTION")))
        };
        rows.iter().map(finding).collect()
    }

    /// PostgreSQL refuses to copy a template whose collations have changed: its indexes may be in the wrong order.
    async fn collations(&self) -> Result<Vec<Finding>> {
        let rows = self.query(COLLATIONS, &[]).await?;
        let finding = |row: &Row| {
            let (name, is_ours): (String, bool) = (row.try_get("name")?, row.try_get("is_ours")?);
            let message = format!("the operating system's collations have changed since the database {name} was made");
            let remedy = format!(
                "rebuild the indexes on texts, here and in every tenant's database, then: ALTER DATABASE {name} REFRESH \
                 COLLATION VERSION"
            );
            let severity = if is_ours { Severity::Error } else { Severity::Warning };
            Ok(Finding { severity, ..Finding::error("collation_mismatch", message, remedy) })
        };
        rows.iter().map(finding).collect()
    }
}

/// `admitted`: how many sessions the server admits of those that are no superuser's.
fn judge_connections(admitted: i64, demands: Demands) -> Vec<Finding> {
    let mut findings = Vec::new();
    let needed = i64::from(demands.connection_budget) + ADMINISTRATION;
    if admitted < needed {
        let message = format!(
            "the server admits {admitted} sessions; its budget of {} and administration take up to {needed}",
            demands.connection_budget
        );
        let remedy = format!("raise max_connections by {}, or lower connection_budget", needed - admitted);
        findings.push(Finding::warning("too_few_connections", message, remedy));
    }
    if demands.connections > i64::from(demands.connection_budget) {
        let message = format!(
            "one busy tenant may take {} connections over {} replicas, more than the budget of {}",
            demands.connections, demands.replicas, demands.connection_budget
        );
        let remedy = "raise connection_budget, or lower FREEHOLD_TENANT_POOL_SIZE";
        findings.push(Finding::warning("pools_exceed_budget", message, remedy));
    }
    findings
}

fn refusal(answer: Option<&SqlState>) -> FieldError {
    let (code, message) = match answer {
        Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            ("login_refused", "the server refuses this role, its password or this machine (pg_hba.conf)")
        }
        Some(&SqlState::UNDEFINED_DATABASE | &SqlState::INSUFFICIENT_PRIVILEGE) => {
            ("database_not_found", "the role cannot connect to the database that the URL names")
        }
        _ => (
            "server_unreachable",
            "no session within 2 s: check host, port and firewall, and with verify-full that the certificate names \
             this host and its authority is known; the log has the reason",
        ),
    };
    FieldError::new(FIELD, code, message)
}

fn judge(row: &Row, version: ServerVersion) -> Result<Vec<Finding>> {
    let role: String = row.try_get("role")?;
    let mut findings = Vec::new();
    if row.try_get("standby")? {
        findings.push(Finding::error("server_is_standby", "the server is a standby", "name the primary"));
    }
    if row.try_get("rolsuper")? {
        let remedy = "make a role for Freehold: CREATE ROLE freehold_admin LOGIN CREATEDB CREATEROLE PASSWORD '…'";
        findings.push(Finding::error("superuser_refused", "a superuser's credential is refused", remedy));
        return Ok(findings);
    }
    // Before 16 a role inherits what it is a member of by its own attribute; later by each membership.
    let attributes = [("rolcreatedb", "CREATEDB"), ("rolcreaterole", "CREATEROLE"), ("rolinherit", "INHERIT")];
    for (column, right) in attributes {
        let needed = column != "rolinherit" || !version.has_membership_options();
        if needed && !row.try_get::<_, bool>(column)? {
            findings.push(missing(&format!("the right {right}"), &format!("ALTER ROLE {role} {right}")));
        }
    }
    Ok(findings)
}

fn missing(what: &str, mend: &str) -> Finding {
    Finding::error("missing_right", format!("the role lacks {what}"), format!("as a superuser: {mend}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_held_against_what_may_be_asked_for() {
        let demands = |connection_budget, connections| Demands { connection_budget, replicas: 2, connections };
        let codes = |admitted, demands| -> Vec<_> {
            judge_connections(admitted, demands).into_iter().map(|finding| finding.code).collect()
        };
        assert!(codes(97, demands(89, 8)).is_empty());
        assert_eq!(codes(97, demands(90, 8)), ["too_few_connections"]);
        assert_eq!(codes(97, demands(10, 11)), ["pools_exceed_budget"]);
        assert!(judge_connections(20, demands(80, 100)).iter().all(|finding| !finding.is_error()));
    }
}
