//! No archive is taken for good that could not be woken: what cannot be brought back is named while the tenant is there.

use serde_json::{Value, json};

use crate::{
    archives::contents,
    archiving::{ask, done, failed, fill, state},
    cloning::{database_of, made},
    harness::{
        fleet::{self, Fleet, logged},
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

    let id = ask(&fleet, &tenant, "archive").await;
    let operation = failed(&fleet, &id).await;
    let error = operation["error"].as_str().unwrap();
    assert!(error.starts_with(&format!("{code}: ")), "{operation}");
    for name in named {
        assert!(error.contains(&name.replace("TENANT", &tenant.database_name())), "{error}");
    }
    assert!(!error.contains(&canary) && !error.contains("secret"), "a row's value is told: {error}");
    let steps = operation["steps"].as_array().unwrap();
    let at = steps.iter().find(|shown| shown["name"] == step).unwrap();
    let log = logged();
    let told: Vec<_> =
        log.lines().filter(|line| line.contains(id.as_str()) && line.contains("an attempt failed")).collect();
    let follows = "an attempt failed, and the operation will be undone";
    assert!(matches!(&told[..], [line] if line.contains(follows)), "{told:?}");
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
    let made = "CREATE VIEW made_by_a_superuser AS SELECT 1 AS one";
    refused(made, "rehearse", "restore_differs", &["made_by_a_superuser"], "DROP VIEW made_by_a_superuser").await;
}

#[tokio::test]
async fn what_the_owner_cannot_read_is_named_before_the_dump() {
    let made = "CREATE TABLE made_by_a_superuser (id int); GRANT SELECT ON made_by_a_superuser TO freehold_tenant;
        ALTER TABLE projects ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY";
    let named = ["table public.made_by_a_superuser (no right", "table public.projects (FORCE ROW LEVEL SECURITY)"];
    let mend =
        "DROP TABLE made_by_a_superuser; ALTER TABLE projects DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY";
    refused(made, "dump", "unreadable_objects", &named, mend).await;
}

#[tokio::test]
async fn a_product_that_speaks_like_postgresql_is_refused_at_once() {
    let made = "SET ROLE freehold_owner;
        CREATE FUNCTION is_fine(x int) RETURNS boolean LANGUAGE plpgsql AS $$
            BEGIN
                IF current_database() LIKE 'freehold_scratch%' THEN
                    RAISE EXCEPTION 'connection to server at the bank lost: out of memory';
                END IF;
                RETURN true;
            END $$;
        CREATE TABLE accounts (id int CHECK (public.is_fine(id)));
        INSERT INTO accounts VALUES (1); RESET ROLE";
    let mend = "DROP TABLE accounts; DROP FUNCTION is_fine(int)";
    refused(made, "rehearse", "not_restorable", &["TABLE DATA accounts"], mend).await;
}

#[tokio::test]
async fn what_a_tenant_may_not_read_is_archived_woken_and_cloned_whole() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let made_before = "SET ROLE freehold_owner;
        CREATE TABLE secrets (id int PRIMARY KEY); INSERT INTO secrets VALUES (1);
        REVOKE ALL ON secrets FROM freehold_tenant;
        CREATE TABLE notes (id int PRIMARY KEY, author text); INSERT INTO notes VALUES (1, 'a'), (2, 'b');
        ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON notes USING (author = current_user);
        CREATE SEQUENCE hidden; REVOKE ALL ON SEQUENCE hidden FROM freehold_tenant;
        CREATE TABLE \"we\nird. name\" (id int); INSERT INTO \"we\nird. name\" VALUES (1); RESET ROLE";
    tenant.database().run(made_before).await;
    let before = contents(&tenant.database()).await;
    let clone = made(&fleet, &tenant).await;
    let notes: i64 = database_of(&fleet, &clone).value("SELECT count(*) FROM notes").await;
    assert_eq!(notes, 2);
    for action in ["archive", "restore"] {
        done(&fleet, &tenant, action).await;
    }
    assert_eq!(contents(&tenant.database()).await, before);
    let shown = "SELECT has_table_privilege('freehold_tenant', 'secrets', 'SELECT')::text
        || (SELECT relrowsecurity FROM pg_class WHERE relname = 'notes')";
    assert_eq!(tenant.database().value::<String>(shown).await, "falsetrue");
    let mend = "DROP TABLE secrets, notes, \"we\nird. name\"; DROP SEQUENCE hidden";
    database_of(&fleet, &clone).run(mend).await;
    tenant.database().run(mend).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn rows_that_a_constraint_writes_during_the_restore_are_named() {
    let made = "SET ROLE freehold_owner;
        CREATE TABLE notes (x text);
        CREATE FUNCTION noted(x text) RETURNS boolean LANGUAGE plpgsql AS
            'BEGIN INSERT INTO public.notes VALUES (x); RETURN true; END';
        CREATE TABLE said (x text CHECK (public.noted(x)));
        INSERT INTO said VALUES ('secret'); RESET ROLE";
    let mend = "DROP TABLE said; DROP FUNCTION noted(text); DROP TABLE notes";
    refused(made, "rehearse", "restore_differs", &["public.notes"], mend).await;
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

#[tokio::test]
async fn what_postgresql_cannot_analyse_is_archived_woken_and_cloned_all_the_same() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    // Neither the INSERT nor the dump evaluates the expression: only ANALYZE does.
    let made_before = "SET ROLE freehold_owner;
        CREATE TABLE ratios (id int PRIMARY KEY, x int NOT NULL);
        CREATE STATISTICS inverse ON ((1 / x)) FROM ratios;
        CREATE TABLE zeros (id int PRIMARY KEY);
        INSERT INTO ratios VALUES (1, 0); INSERT INTO zeros SELECT generate_series(1, 1000); RESET ROLE";
    tenant.database().run(made_before).await;
    let before = contents(&tenant.database()).await;
    let clone = made(&fleet, &tenant).await;
    for action in ["archive", "restore"] {
        done(&fleet, &tenant, action).await;
    }
    assert_eq!(contents(&tenant.database()).await, before);
    // One table that cannot be analysed costs no other table its statistics.
    let analysed = "SELECT string_agg(DISTINCT tablename, ' ' ORDER BY tablename) FROM pg_stats
                     WHERE tablename IN ('ratios', 'users', 'zeros')";
    for database in [tenant.database(), database_of(&fleet, &clone)] {
        assert_eq!(database.value::<String>(analysed).await, "users zeros");
        database.run("DROP TABLE ratios, zeros").await;
    }
    fleet.assert_clean().await;
}
