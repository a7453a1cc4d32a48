//! No archive is taken for good that could not be woken: what cannot be brought back is named while the tenant is there.

use serde_json::{Value, json};

use crate::{
    archives::contents,
    archiving::{ask, done, failed, fill, state},
    harness::{
        fleet::{self, Fleet},
        tenant::Tenant,
        unique,
    },
};

/// Databases and roles on the server that have to do with the tenant, those of a rehearsal included.
async fn on_server(fleet: &Fleet, tenant: &Tenant<'_>) -> (i64, i64) {
    let server = fleet.on_server("postgres");
    let hex = tenant.database_name().trim_start_matches("tenant_").to_owned();
    let databases = server.value(&format!("SELECT count(*) FROM pg_database WHERE datname LIKE '%{hex}'")).await;
    (databases, server.value(&format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '%{hex}'")).await)
}

/// Has `made` done in the tenant's database, asks for its archiving, and sees it refused: with this code and these names,
/// at the first attempt of this step, and the tenant as it was. Once `mend` is done, it can be archived and woken.
async fn refused(made: &str, step: &str, code: &str, named: &[&str], mend: &str) -> Value {
    let fleet = fleet::alone().await;
    let (tenant, canary) = (fleet.tenant().await, unique("canary"));
    fill(&tenant, &canary).await;
    tenant.database().run(&made.replace("TENANT", &tenant.database_name())).await;
    let before = contents(&tenant.database()).await;

    let operation = failed(&fleet, &ask(&fleet, &tenant, "archive").await).await;
    let error = operation["error"].as_str().unwrap();
    assert!(error.starts_with(&format!("{code}: ")), "{operation}");
    for name in named {
        assert!(error.contains(&name.replace("TENANT", &tenant.database_name())), "{error}");
    }
    assert!(!error.contains(&canary) && !error.contains("secret"), "a row's value is told: {error}");
    let steps = operation["steps"].as_array().unwrap();
    let at = steps.iter().find(|shown| shown["name"] == step).unwrap();
    // Once forwards, and once when it was undone.
    assert_eq!((&at["state"], &at["attempts"]), (&json!("undone"), &json!(2)), "{operation}");
    assert_eq!((state(&fleet, &tenant).await.as_str(), on_server(&fleet, &tenant).await), ("active", (1, 1)));
    assert_eq!(contents(&tenant.database()).await, before);
    tenant.login().await;

    tenant.database().run(&mend.replace("TENANT", &tenant.database_name())).await;
    let before = contents(&tenant.database()).await;
    for action in ["archive", "restore"] {
        done(&fleet, &tenant, action).await;
    }
    assert_eq!(contents(&tenant.database()).await, before);
    fleet.assert_clean().await;
    operation
}

#[tokio::test]
async fn rows_that_a_check_refuses_without_a_search_path_are_named_before_they_are_lost() {
    let made = "SET ROLE freehold_owner;
        CREATE TABLE words (w text PRIMARY KEY);
        CREATE FUNCTION is_word(x text) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM words WHERE w = x)';
        CREATE TABLE said (id int PRIMARY KEY, x text CHECK (is_word(x)));
        INSERT INTO words VALUES ('secret'); INSERT INTO said VALUES (1, 'secret'); RESET ROLE";
    let mend = "DROP TABLE said; DROP FUNCTION is_word(text); DROP TABLE words";
    refused(made, "rehearse", "not_restorable", &["TABLE DATA said"], mend).await;
}

#[tokio::test]
async fn an_extension_that_only_a_superuser_may_make_is_named() {
    let made = "CREATE EXTENSION pg_stat_statements";
    let mend = "DROP EXTENSION pg_stat_statements";
    refused(made, "rehearse", "not_restorable", &["EXTENSION pg_stat_statements"], mend).await;
}

#[tokio::test]
async fn what_a_tenants_role_has_made_is_named_before_the_dump() {
    // As the tenant's role may, with one statement, in its own database.
    let made = "SET ROLE \"TENANT\"; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; SELECT lo_create(4711); RESET ROLE";
    let mend =
        "ALTER DEFAULT PRIVILEGES FOR ROLE \"TENANT\" REVOKE SELECT ON TABLES FROM PUBLIC; SELECT lo_unlink(4711)";
    let named = ["default privileges", "large object 4711", "TENANT"];
    refused(made, "dump", "foreign_objects", &named, mend).await;
}

#[tokio::test]
async fn what_would_come_back_as_somebody_elses_is_named() {
    let made = "CREATE TABLE made_by_a_superuser (id int); GRANT SELECT ON made_by_a_superuser TO freehold_tenant";
    refused(made, "rehearse", "restore_differs", &["made_by_a_superuser"], "DROP TABLE made_by_a_superuser").await;
}

#[tokio::test]
async fn a_definition_that_postgresql_writes_otherwise_is_no_difference() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let made = "SET ROLE freehold_owner;
        CREATE TABLE orders (id int PRIMARY KEY, state varchar(20) CHECK (state IN ('new', 'paid')), note text);
        INSERT INTO orders VALUES (1, 'paid', 'x');
        CREATE INDEX ON orders (lower(note)) WHERE state IN ('new', 'paid');
        CREATE VIEW paid AS SELECT o.id, p.name FROM orders o LEFT JOIN projects p ON p.name = o.note WHERE o.state = 'paid';
        RESET ROLE";
    tenant.database().run(made).await;
    let before = contents(&tenant.database()).await;
    for action in ["archive", "restore"] {
        done(&fleet, &tenant, action).await;
    }
    assert_eq!(contents(&tenant.database()).await, before);
    tenant.database().run("DROP VIEW paid; DROP TABLE orders").await;
    assert_eq!(on_server(&fleet, &tenant).await, (1, 1));
}
