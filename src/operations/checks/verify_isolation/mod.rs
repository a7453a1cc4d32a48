//! `freehold verify isolation`: tries what must not be possible, as the tenants themselves, and counts.
//!
//! Every tenant's role is tried against the other databases of its server and, in its own database, against what
//! it should have no right to. Nothing is inferred from configuration: an attempt counts as refused only when
//! PostgreSQL answered with a refusal; any other failure leaves that tenant unproven. Every attempt is undone, and none
//! touches a tenant's rows.

mod probes;
mod targets;

use futures::{StreamExt, future::BoxFuture, stream};
use tokio_postgres::error::SqlState;

use crate::{
    error::{Error, Result},
    operations::fleet::tenant_login::READINGS,
    servers::{Connection, Connector, Credentials, ServerAddress, ServerAdmin, is_sqlstate},
    types::TenantId,
};
use targets::Targets;

const APPLICATION_NAME: &str = "freehold:verify-isolation";

/// The server that is tried, and how its tenants log in.
#[derive(Clone, Copy)]
pub(in crate::operations) struct Site<'a> {
    pub(in crate::operations) connector: &'a Connector,
    pub(in crate::operations) address: &'a ServerAddress,
    /// The tenant's login as it is now: a password may be replaced while its tenant is being tried.
    pub(in crate::operations) login: &'a (dyn Fn(TenantId) -> BoxFuture<'a, Result<Credentials>> + Send + Sync),
}

/// Something that was possible and should not be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = IsolationFinding)]
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
    pub(in crate::operations) fn unproven(tenants: &[TenantId]) -> Self {
        Self { unproven: tenants.to_vec(), ..Self::default() }
    }

    /// Counts an attempt; `finding` is there when it was possible.
    fn count(&mut self, finding: Option<Finding>) {
        self.attempts += 1;
        self.successes += u64::from(finding.is_some());
        self.findings.extend(finding);
    }
}

/// Tries the tenants of one server, `at_once` of them at the same time, each with one session. One that cannot enter
/// its own database proves nothing.
///
/// # Errors
/// When the server cannot be looked at.
pub(in crate::operations) async fn verify(
    admin: &ServerAdmin,
    site: Site<'_>,
    subjects: &[TenantId],
    at_once: usize,
) -> Result<Report> {
    let targets = Targets::new(admin.list_databases().await?);
    let attacks = subjects.iter().map(|&tenant| attack(site, tenant, &targets));
    let report = stream::iter(attacks.collect::<Vec<_>>())
        .buffered(at_once)
        .fold(Report::default(), async |all, one| all.merge(one))
        .await;
    Ok(Report { sampled: targets.is_sampled(), ..report })
}

async fn attack(site: Site<'_>, tenant: TenantId, targets: &Targets) -> Report {
    let trying = async {
        let credentials = (site.login)(tenant).await?;
        Attack { site, tenant, credentials }.run(targets).await
    };
    trying.await.unwrap_or_else(|error| {
        tracing::warn!(tenant.id = %tenant, error = error.chain(), "a tenant cannot be tried");
        Report::unproven(&[tenant])
    })
}

/// One tenant's tries.
struct Attack<'a> {
    site: Site<'a>,
    tenant: TenantId,
    credentials: Credentials,
}

impl Attack<'_> {
    async fn run(mut self, targets: &Targets) -> Result<Report> {
        let mut report = Report::default();
        let (tenant, own) = (self.tenant, self.tenant.db_name().to_string());
        let session = self.enter(&own).await?.ok_or_else(|| {
            Error::defect(format!("{tenant} is refused in its own database: its isolation cannot be shown"))
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
    async fn enter(&mut self, database: &str) -> Result<Option<Connection>> {
        let Site { connector, address, login } = self.site;
        for _ in 0..READINGS {
            let config = connector.config(address, database, &self.credentials, APPLICATION_NAME);
            match connector.open(&config).await? {
                Ok(session) => return Ok(Some(session)),
                Err(error) if is_refusal(&error) => return Ok(None),
                Err(error) if is_sqlstate(&error, &SqlState::INVALID_PASSWORD) => {
                    self.credentials = login(self.tenant).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::defect(format!("the password of {} is replaced faster than it can be used", self.tenant)))
    }

    fn finding(&self, attempt: &'static str, target: String, detail: String) -> Finding {
        Finding { tenant_id: self.tenant, attempt, target, detail }
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
