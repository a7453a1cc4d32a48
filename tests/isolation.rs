//! What keeps tenants apart in PostgreSQL itself, and the check that would notice if it did not.

use secrecy::ExposeSecret;
use serde_json::Value;
use tokio_postgres::error::SqlState;

use crate::harness::{
    fleet::{self, Fleet},
    sql::Database,
    tenant::Tenant,
};

/// What the check over all tenants tells.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pub(crate) attempts: u64,
    pub(crate) findings: Vec<Value>,
    pub(crate) unproven: Vec<Value>,
}

/// The check over all tenants, page by page.
pub(crate) async fn verify(fleet: &Fleet) -> Verified {
    let (mut verified, mut after) = (Verified::default(), None::<String>);
    loop {
        let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
        let page = fleet.patiently(&format!("/platform/v1/isolation{query}"), 0).await;
        verified.attempts += page["attempts"].as_u64().unwrap();
        let found = page["findings"].as_array().unwrap();
        assert_eq!(page["successes"].as_u64().unwrap(), found.len() as u64);
        verified.findings.extend(found.iter().cloned());
        verified.unproven.extend(page["unproven"].as_array().into_iter().flatten().cloned());
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return verified;
        }
    }
}

/// Statements that open something to the role of the tenant under test, and close it again.
struct Fault {
    database: Database,
    inject: String,
    mend: String,
    /// What the check must have tried, and on what.
    attempt: &'static str,
    target: String,
}

/// `right` is granted to the role and taken away again.
fn granted(database: Database, (right, role): (&str, &str), attempt: &'static str, target: &str) -> Fault {
    let (inject, mend) = (format!("GRANT {right} TO {role}"), format!("REVOKE {right} FROM {role}"));
    Fault { database, inject, mend, attempt, target: target.to_owned() }
}

fn faults(fleet: &Fleet, one: &Tenant<'_>, two: &Tenant<'_>) -> Vec<Fault> {
    let (role, other) = (one.database_name(), two.database_name());
    let (server, own) = (fleet.on_server("postgres"), one.database());
    let createdb = Fault {
        database: server.clone(),
        inject: format!("ALTER ROLE {role} CREATEDB"),
        mend: format!("ALTER ROLE {role} NOCREATEDB"),
        attempt: "role_attribute",
        target: "CREATEDB".to_owned(),
    };
    vec![
        granted(server.clone(), (&format!("CONNECT ON DATABASE {other}"), &role), "connect", &other),
        granted(server.clone(), ("CONNECT ON DATABASE postgres", "PUBLIC"), "connect", "postgres"),
        granted(server, ("pg_read_all_data", &role), "membership", "pg_read_all_data"),
        granted(own.clone(), ("CREATE ON SCHEMA public", &role), "create_table", "public"),
        granted(own.clone(), ("UPDATE ON freehold.audit_events", &role), "update", "freehold.audit_events"),
        granted(own.clone(), ("DELETE ON freehold.audit_events", &role), "delete", "freehold.audit_events"),
        granted(
            own.clone(),
            ("INSERT ON freehold.refinery_schema_history", &role),
            "insert",
            "freehold.refinery_schema_history",
        ),
        granted(
            own.clone(),
            ("UPDATE ON public.refinery_schema_history", &role),
            "update",
            "public.refinery_schema_history",
        ),
        granted(own, ("TRUNCATE ON freehold.users", &role), "table_right", "freehold.users: TRUNCATE"),
        createdb,
    ]
}

#[tokio::test]
async fn nothing_is_possible_and_every_injected_fault_is_found() {
    let fleet = fleet::alone().await;
    let (one, two) = (fleet.tenant().await, fleet.tenant().await);
    let verified = verify(&fleet).await;
    assert!(
        verified.attempts >= 3 * 36 && verified.findings.is_empty() && verified.unproven.is_empty(),
        "{verified:?}"
    );
    for fault in faults(&fleet, &one, &two) {
        fault.database.run(&fault.inject).await;
        let Verified { findings, .. } = verify(&fleet).await;
        fault.database.run(&fault.mend).await;
        let is_it = |finding: &Value| {
            finding["tenant_id"] == one.id.as_str()
                && finding["attempt"] == fault.attempt
                && finding["target"] == fault.target.as_str()
        };
        assert!(findings.iter().any(is_it), "{}: {findings:?}", fault.inject);
    }
    assert!(verify(&fleet).await.findings.is_empty());
}

#[tokio::test]
async fn a_tenant_that_cannot_be_tried_is_told_and_holds_up_no_other() {
    let fleet = fleet::alone().await;
    let (broken, other) = (fleet.tenant().await, fleet.tenant().await);
    let (server, name) = (fleet.on_server("postgres"), broken.database_name());
    server.run(&format!("REVOKE CONNECT ON DATABASE {name} FROM {name}")).await;
    let verified = verify(&fleet).await;
    server.run(&format!("GRANT CONNECT ON DATABASE {name} TO {name}")).await;
    assert_eq!(verified.unproven, [Value::from(broken.id.as_str())], "{verified:?}");
    assert!(verified.findings.is_empty() && verified.attempts >= 36, "{verified:?}");
    // The one after it was tried all the same: what it could do is found.
    let open = format!("CONNECT ON DATABASE {name}");
    server.run(&format!("GRANT {open} TO {}", other.database_name())).await;
    server.run(&format!("ALTER ROLE {name} NOLOGIN")).await;
    let verified = verify(&fleet).await;
    server.run(&format!("ALTER ROLE {name} LOGIN")).await;
    server.run(&format!("REVOKE {open} FROM {}", other.database_name())).await;
    assert_eq!((verified.unproven.len(), verified.findings.len()), (1, 1), "{verified:?}");
}

/// A session with the tenant's own login in some database, or the code of its refusal.
async fn enter(fleet: &Fleet, tenant: &Tenant<'_>, database: &str) -> Result<tokio_postgres::Client, SqlState> {
    let password = fleet.database_password(&tenant.id).await;
    let login = fleet.on_server(database).logged_in_as(&tenant.database_name(), password.expose_secret());
    login.connect().await.map_err(|error| error.code().expect("an answer of PostgreSQL").clone())
}

#[tokio::test]
async fn a_tenants_login_enters_its_own_database_and_no_other() {
    let fleet = fleet::shared().await;
    let (one, two) = (fleet.tenant().await, fleet.tenant().await);
    let own = enter(fleet, &one, &one.database_name()).await.unwrap();
    let row = own.query_one("SELECT current_user::text, (SELECT count(*) FROM freehold.users)", &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i64>(1)), (one.database_name().as_str(), 1));
    for database in [two.database_name().as_str(), "postgres", "template1"] {
        assert_eq!(enter(fleet, &one, database).await.err(), Some(SqlState::INSUFFICIENT_PRIVILEGE), "{database}");
    }
    let template = "SELECT datname::text FROM pg_database WHERE datistemplate AND datname LIKE 'freehold%'";
    let template: String = fleet.on_server("postgres").value(template).await;
    assert!(enter(fleet, &one, &template).await.is_err());
    for statement in [
        "CREATE TABLE mine (id int)",
        "SET ROLE freehold_owner",
        "SELECT rolpassword FROM pg_authid",
        "DROP TABLE freehold.users",
    ] {
        let refusal = own.batch_execute(statement).await.unwrap_err();
        assert_eq!(refusal.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
    }
}
