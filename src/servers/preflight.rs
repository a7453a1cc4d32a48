//! Whether a server and its administrative credential are fit for Freehold: said at registration, before the
//! first tenant, with the statement that mends what is missing.

use tokio_postgres::{Row, error::SqlState};

use super::{AdminUrl, Connector, OWNER_ROLE, ServerAdmin, ServerVersion, TENANT_ROLE, errors::describe};
use crate::error::{Error, FieldError, Result};

/// The field of the registration that all findings are about.
const FIELD: &str = "admin_url";

const OBSERVE: &str = "SELECT pg_is_in_recovery() AS standby, quote_ident(rolname) AS role, rolsuper, rolcreatedb, \
     rolcreaterole, rolinherit FROM pg_roles WHERE rolname = current_user";

/// Shared roles that somebody else made: from PostgreSQL 16 on they need an explicit ADMIN OPTION.
const FOREIGN_ROLES: &str = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY($1) \
     AND NOT pg_has_role(current_user, oid, 'MEMBER WITH ADMIN OPTION')";

impl ServerAdmin {
    /// Opens the first session with what an operator gave, and checks it: what goes wrong is about their field.
    ///
    /// # Errors
    /// On `admin_url`: `server_unreachable`, `login_refused`, `database_not_found`, and those of
    /// [`preflight`](Self::preflight).
    pub async fn first_contact(connector: &Connector, url: &AdminUrl, application_name: &str) -> Result<Self> {
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
        admin.preflight().await?;
        Ok(admin)
    }

    /// Checks version and rights.
    ///
    /// # Errors
    /// All findings at once on `admin_url`: `server_version_unsupported`, `server_is_standby`,
    /// `superuser_refused`, `missing_right`.
    pub async fn preflight(&self) -> Result<ServerVersion> {
        if self.version() < ServerVersion::OLDEST {
            let message = format!("the server must run PostgreSQL 15 or newer; it runs {}", self.version());
            return Err(FieldError::new(FIELD, "server_version_unsupported", message).into());
        }
        let observed = self.query_one(OBSERVE, &[]).await?;
        let mut findings = judge(&observed, self.version())?;
        if self.version().has_membership_options() {
            findings.extend(self.foreign_roles(observed.try_get("role")?).await?);
        }
        if findings.is_empty() { Ok(self.version()) } else { Err(Error::Validation(findings)) }
    }

    async fn foreign_roles(&self, admin: &str) -> Result<Vec<FieldError>> {
        let shared = vec![OWNER_ROLE, TENANT_ROLE];
        let rows = self.query(FOREIGN_ROLES, &[&shared]).await?;
        let finding = |row: &Row| {
            let role: String = row.try_get(0)?;
            Ok(missing(&format!("rights over {role}"), &format!("GRANT {role} TO {admin} WITH ADMIN OPTION")))
        };
        rows.iter().map(finding).collect()
    }
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

fn judge(row: &Row, version: ServerVersion) -> Result<Vec<FieldError>> {
    let role: String = row.try_get("role")?;
    let mut findings = Vec::new();
    if row.try_get("standby")? {
        findings.push(FieldError::new(FIELD, "server_is_standby", "the server is a standby; name the primary"));
    }
    if row.try_get("rolsuper")? {
        let message = "a superuser's credential is refused; make a role for Freehold: \
                       CREATE ROLE freehold_admin LOGIN CREATEDB CREATEROLE PASSWORD '…'";
        findings.push(FieldError::new(FIELD, "superuser_refused", message));
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

fn missing(what: &str, mend: &str) -> FieldError {
    FieldError::new(FIELD, "missing_right", format!("the role lacks {what}; as a superuser: {mend}"))
}
