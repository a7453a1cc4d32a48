//! `freehold verify isolation`: tries what must not be possible, as the tenants themselves, and counts.
//!
//! Every tenant's role is tried against the other databases of its server and, in its own database, against what
//! it should have no right to. Nothing is inferred from configuration: an attempt counts as refused only when
//! PostgreSQL answered with a refusal; any other failure leaves that tenant unproven. Every attempt is undone, and none
//! touches a tenant's rows.

mod probes;
mod targets;

use futures::{StreamExt, stream};
use tokio_postgres::error::SqlState;

use crate::{
    error::{Error, Result},
    servers::{Connection, Connector, Credentials, ServerAddress, ServerAdmin, is_sqlstate},
    types::TenantId,
};
use targets::Targets;

/// Tenants that are tried at the same time, one session each: within what operations may hold on a server.
const CONCURRENCY: usize = 6;
const APPLICATION_NAME: &str = "freehold:verify-isolation";

/// A tenant and its own login.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Whose login it is.
    pub tenant: TenantId,
    /// The login.
    pub credentials: Credentials,
}

/// Something that was possible and should not be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// The tenant whose role could do it.
    pub tenant_id: TenantId,
    /// What was tried: `connect`, `create_table`, …
    pub attempt: &'static str,
    /// On what: a database, a table, a role.
    pub target: String,
    /// What came of it and, where there is a remedy, what it is.
    pub detail: String,
}

/// What was tried and what of it was possible.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Report {
    /// How many things were tried.
    pub attempts: u64,
    /// How many of them were possible; 0 is the promise.
    pub successes: u64,
    /// One for each success.
    pub findings: Vec<Finding>,
    /// There only when some are: tenants that could not be tried, themselves or because their server is away. Nothing
    /// is shown about them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unproven: Vec<TenantId>,
    /// There only when true: some server has so many databases that each tenant was tried against a part of them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sampled: bool,
}

impl Report {
    /// Adds what was found elsewhere: on another server, by another tenant.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.attempts += other.attempts;
        self.successes += other.successes;
        self.findings.extend(other.findings);
        self.unproven.extend(other.unproven);
        self.sampled |= other.sampled;
        self
    }

    /// Nothing is shown about these.
    pub(super) fn unproven(tenants: &[TenantId]) -> Self {
        Self { unproven: tenants.to_vec(), ..Self::default() }
    }

    /// Counts an attempt; `finding` is there when it was possible.
    fn count(&mut self, finding: Option<Finding>) {
        self.attempts += 1;
        self.successes += u64::from(finding.is_some());
        self.findings.extend(finding);
    }
}

/// Tries the tenants of one server. One that cannot enter its own database proves nothing.
///
/// # Errors
/// When the server cannot be looked at.
pub async fn verify(
    admin: &ServerAdmin,
    connector: &Connector,
    address: &ServerAddress,
    subjects: &[Subject],
) -> Result<Report> {
    let targets = Targets::new(admin.list_databases().await?);
    let attacks = subjects.iter().map(|subject| Attack { connector, address, subject }.run(&targets));
    let report = stream::iter(attacks.collect::<Vec<_>>())
        .buffered(CONCURRENCY)
        .fold(Report::default(), async |all, one| all.merge(one))
        .await;
    Ok(Report { sampled: targets.is_sampled(), ..report })
}

/// One tenant's tries.
struct Attack<'a> {
    connector: &'a Connector,
    address: &'a ServerAddress,
    subject: &'a Subject,
}

impl Attack<'_> {
    async fn run(self, targets: &Targets) -> Report {
        self.attempt_all(targets).await.unwrap_or_else(|error| {
            tracing::warn!(tenant.id = %self.subject.tenant, error = error.chain(), "a tenant cannot be tried");
            Report::unproven(&[self.subject.tenant])
        })
    }

    async fn attempt_all(&self, targets: &Targets) -> Result<Report> {
        let mut report = Report::default();
        let own = self.subject.tenant.db_name().to_string();
        let session = self.enter(&own).await?.ok_or_else(|| {
            Error::defect(format!(
                "{} is refused in its own database: its isolation cannot be shown",
                self.subject.tenant
            ))
        })?;
        for (attempt, target, detail) in probes::run(&session, &mut report.attempts).await? {
            report.successes += 1;
            report.findings.push(self.finding(attempt, target, detail));
        }
        session.close().await;
        for database in targets.of(&own) {
            let entered = self.enter(&database.name).await?;
            report.count(entered.map(|_| self.finding("connect", database.name.clone(), targets::remedy(database))));
        }
        Ok(report)
    }

    /// A session in the database, or `None` if the tenant is refused.
    async fn enter(&self, database: &str) -> Result<Option<Connection>> {
        let config = self.connector.config(self.address, database, &self.subject.credentials, APPLICATION_NAME);
        match self.connector.open(&config).await? {
            Ok(session) => Ok(Some(session)),
            Err(error) if is_refusal(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn finding(&self, attempt: &'static str, target: String, detail: String) -> Finding {
        Finding { tenant_id: self.subject.tenant, attempt, target, detail }
    }
}

/// No right, closed to sessions, refused by `pg_hba.conf`, or gone since it was listed. A wrong password is none:
/// it would be refused everywhere.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    [
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::UNDEFINED_DATABASE,
    ]
    .iter()
    .any(|state| is_sqlstate(error, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_exactly_its_documented_members() {
        let empty = serde_json::to_value(Report::default()).unwrap();
        assert_eq!(empty, serde_json::json!({"attempts": 0, "successes": 0, "findings": []}));
        let sampled = Report { sampled: true, ..Report::default() };
        assert_eq!(serde_json::to_value(sampled).unwrap()["sampled"], true);
    }

    #[test]
    fn reports_add_up() {
        let tenant_id = "ten_0190b6a4c1e87d3f8a2b5c6d7e8f9012".parse().unwrap();
        let finding = Finding { tenant_id, attempt: "connect", target: "postgres".into(), detail: String::new() };
        let mut one = Report::default();
        one.count(None);
        one.count(Some(finding.clone()));
        let both = one.merge(Report { attempts: 1, sampled: true, ..Report::unproven(&[tenant_id]) });
        let unproven = vec![tenant_id];
        assert_eq!(both, Report { attempts: 3, successes: 1, findings: vec![finding], unproven, sampled: true });
    }
}
