//! `fsck` finds what is wrong: every class of difference is made, found, mended and gone.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::PathBuf};

use freehold::types::Clock;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{
    eventually,
    fleet::{self, Fleet},
    sql::Database,
    tenant::Tenant,
};

/// The name of a tenant's database that no tenant has.
const NOBODY: &str = "tenant_0190b6a4c1e87d3f8a2b5c6d7e8f9012";

/// Something that is made wrong, and how it is mended.
struct Fault {
    class: &'static str,
    database: Database,
    inject: String,
    mend: String,
}

fn fault(class: &'static str, database: &Database, inject: &str, mend: &str) -> Fault {
    Fault { class, database: database.clone(), inject: inject.to_owned(), mend: mend.to_owned() }
}

fn on_the_server(fleet: &Fleet, tenant: &Tenant<'_>) -> Vec<Fault> {
    let (server, own, name) = (fleet.on_server("postgres"), tenant.database(), tenant.database_name());
    let platform = fleet.on_platform_server("postgres");
    let orphan = (format!("CREATE DATABASE {NOBODY}"), format!("DROP DATABASE {NOBODY}"));
    let slot = "SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')";
    vec![
        fault("orphan_database", &server, &orphan.0, &orphan.1),
        fault("orphan_role", &server, &format!("CREATE ROLE {NOBODY} LOGIN"), &format!("DROP ROLE {NOBODY}")),
        fault("orphan_role", &server, "CREATE ROLE freehold_dump_x LOGIN", "DROP ROLE freehold_dump_x"),
        fault("orphan_role", &server, "CREATE ROLE freehold_builder_x LOGIN", "DROP ROLE freehold_builder_x"),
        fault("ghost_tenant", &server, &format!("ALTER ROLE {name} NOLOGIN"), &format!("ALTER ROLE {name} LOGIN")),
        // Nobody is let in who would look: nothing is said of the tenant.
        fault(
            "unreachable_server",
            &server,
            &format!("ALTER ROLE {name} CONNECTION LIMIT 0"),
            &format!("ALTER ROLE {name} CONNECTION LIMIT 100"),
        ),
        fault(
            "ghost_tenant",
            &server,
            &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"),
            &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"),
        ),
        fault(
            "invalid_database",
            &server,
            &format!("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{name}'"),
            &format!("UPDATE pg_database SET datconnlimit = -1 WHERE datname = '{name}'"),
        ),
        fault("double_home", &platform, &format!("CREATE DATABASE {name}"), &format!("DROP DATABASE {name}")),
        fault(
            "public_connect",
            &server,
            &format!("GRANT CONNECT ON DATABASE {name} TO PUBLIC"),
            &format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC"),
        ),
        fault("prepared_transaction", &own, "BEGIN; PREPARE TRANSACTION 'forgotten'", "ROLLBACK PREPARED 'forgotten'"),
        fault("replication_slot", &own, slot, "SELECT pg_drop_replication_slot('forgotten')"),
        fault("schema_drift", &own, "ALTER TABLE projects ADD drifted int", "ALTER TABLE projects DROP drifted"),
        fault(
            "schema_drift",
            &own,
            "ALTER TABLE freehold.users ADD drifted int",
            "ALTER TABLE freehold.users DROP drifted",
        ),
        fault(
            "schema_drift",
            &own,
            "GRANT UPDATE ON freehold.audit_events TO freehold_tenant",
            "REVOKE UPDATE ON freehold.audit_events FROM freehold_tenant",
        ),
        fault("schema_drift", &own, "GRANT TRUNCATE ON projects TO PUBLIC", "REVOKE TRUNCATE ON projects FROM PUBLIC"),
        fault("schema_drift", &own, "CREATE INDEX drifted ON projects (name)", "DROP INDEX drifted"),
    ]
}

fn in_the_control_database(fleet: &Fleet, tenant: &Tenant<'_>) -> Vec<Fault> {
    let control = fleet.control();
    let owner = "'0190b6a4-c1e8-7d3f-8a2b-5c6d7e8f9012'";
    let id = format!("(SELECT id FROM tenants WHERE slug = '{}')", tenant.slug);
    let blocked = |direction: &str| {
        format!(
            "INSERT INTO operations (id, kind, tenant_id, state, direction, input, requested_by)
             VALUES ({owner}, 'tenant.provision', {id}, 'blocked', '{direction}', '{{}}', 'test')"
        )
    };
    let gone = format!("DELETE FROM operations WHERE id = {owner}");
    let (port, server) = (fleet.on_server("postgres").port(), &fleet.server);
    vec![
        fault(
            "orphan_secret",
            &control,
            &format!("INSERT INTO data_keys (owner_id, kek_id, wrapped) VALUES ({owner}, 'k1', '\\x00')"),
            &format!("DELETE FROM data_keys WHERE owner_id = {owner}"),
        ),
        fault(
            "leaked_reservation",
            &control,
            // The tenant has just been changed: the janitor leaves it alone for now.
            &format!("UPDATE tenants SET name = name WHERE id = {id}; DELETE FROM slugs WHERE tenant_id = {id}"),
            &format!("INSERT INTO slugs SELECT slug, id FROM tenants WHERE id = {id}"),
        ),
        fault("stuck_operation", &control, &blocked("forward"), &gone),
        fault("undo_failed", &control, &blocked("undo"), &gone),
        fault(
            "unreachable_server",
            &control,
            &format!("UPDATE servers SET port = 1 WHERE name = '{server}'"),
            &format!("UPDATE servers SET port = {port} WHERE name = '{server}'"),
        ),
        fault(
            "memory_mismatch",
            &control,
            // Replicas follow changes of this kind by themselves: silently, and below what they have seen already, they
            // have nothing to follow.
            &format!(
                "BEGIN; SELECT setval('tenants_revision_seq', nextval('tenants_revision_seq') + 100000);
                 UPDATE tenants SET name = name WHERE slug = 'platform'; COMMIT;
                 SELECT pg_sleep(1); SET session_replication_role = replica;
                 UPDATE tenants SET revision = (SELECT last_value FROM tenants_revision_seq) - 50000 WHERE id = {id}"
            ),
            &format!("UPDATE tenants SET name = name WHERE id = {id}"),
        ),
        fault(
            "memory_mismatch",
            &control,
            "INSERT INTO replicas VALUES ('liar', '0', now(), now() + interval '50 seconds', 4, 1, '0:0')",
            "DELETE FROM replicas WHERE name = 'liar'",
        ),
    ]
}

async fn fsck(fleet: &Fleet) -> Value {
    fleet.patiently("/platform/v1/fsck", 0).await
}

#[tokio::test]
async fn every_class_of_difference_is_found_and_gone_once_it_is_mended() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let clean = fsck(&fleet).await;
    assert_eq!(clean["state"], "clean", "{clean}");
    let mut found = BTreeSet::new();
    for fault in on_the_server(&fleet, &tenant).into_iter().chain(in_the_control_database(&fleet, &tenant)) {
        fault.database.run(&fault.inject).await;
        let report = fsck(&fleet).await;
        fault.database.run(&fault.mend).await;
        assert_eq!(report["state"], "dirty", "{}: {report}", fault.class);
        assert!(
            report["counts"][fault.class].as_u64().unwrap() > 0,
            "{} after {}: {report}",
            fault.class,
            fault.inject
        );
        eventually(&format!("all to be well after {}", fault.mend), async || {
            (fsck(&fleet).await["state"] == "clean").then_some(())
        })
        .await;
        found.insert(fault.class);
    }
    idle_in_transaction(&fleet, &tenant).await;
    in_the_archive_store(&fleet, &tenant).await;
    in_redis(&fleet).await;
    found.extend(["idle_in_transaction", "orphan_archive", "unreachable_store"]);
    found.extend(["stale_redis_key", "unreachable_redis"]);
    let classes: BTreeSet<_> = clean["counts"].as_object().unwrap().keys().map(String::as_str).collect();
    let unproven: Vec<_> = classes.difference(&found).copied().collect();
    assert!(unproven.is_empty(), "classes that nothing here belongs to: {unproven:?}");
}

/// An object that nobody knows, an archive without an object, one that was never completed, and what cannot be listed.
async fn in_the_archive_store(fleet: &Fleet, tenant: &Tenant<'_>) {
    let store = PathBuf::from(fleet.setting("FREEHOLD_ARCHIVE_URL"));
    let folder = store.join(&tenant.id);
    let stray = folder.join("arc_0190b6a4c1e87d3f8a2b5c6d7e8f9012.archive");
    let row = format!(
        "INSERT INTO archives (id, tenant_id, operation_id, sealed_key, contents, server_version, bytes, sha256, verified_at)
         SELECT '0190b6a4-c1e8-7d3f-8a2b-5c6d7e8f9012', id, id, '', '{{}}', 150000, {} FROM tenants WHERE slug = '{}'",
        "1, decode(repeat('00', 32), 'hex'), now()", tenant.slug
    );
    let finds = async |class: &str| {
        let report = fsck(fleet).await;
        assert_eq!((&report["state"], &report["counts"][class]), (&json!("dirty"), &json!(1)), "{report}");
    };
    fs::create_dir_all(&folder).unwrap();
    fs::write(&stray, "nobody's").unwrap();
    finds("orphan_archive").await;
    // Its row makes it known; without its object the row is too much.
    fleet.control().run(&row).await;
    assert_eq!(fsck(fleet).await["state"], "clean");
    fs::remove_file(&stray).unwrap();
    finds("orphan_archive").await;
    let this = "WHERE id = '0190b6a4-c1e8-7d3f-8a2b-5c6d7e8f9012'";
    fleet.control().run(&format!("UPDATE archives SET bytes = NULL, sha256 = NULL, verified_at = NULL {this}")).await;
    finds("orphan_archive").await;
    fleet.control().run(&format!("DELETE FROM archives {this}")).await;
    // A link that leads to itself cannot be listed.
    symlink(&stray, &stray).unwrap();
    finds("unreachable_store").await;
    fs::remove_file(&stray).unwrap();
    let report = fsck(fleet).await;
    assert_eq!(report["state"], "clean", "{report}");
}

/// The value of a metric, once there is one.
async fn told(fleet: &Fleet, metric: &str) -> Option<f64> {
    let metrics = fleet.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

#[tokio::test]
async fn what_the_checks_find_is_told_in_the_metrics() {
    let fleet = fleet::alone().await;
    fleet.tenant().await;
    let intervals = [("FREEHOLD_FSCK_INTERVAL_SECONDS", "1"), ("FREEHOLD_ISOLATION_INTERVAL_SECONDS", "1")];
    let _checking = fleet.another_replica(&intervals, Clock::default()).await;
    let becomes = async |metric: &str, value: f64| {
        for _ in 0..300 {
            if told(&fleet, metric).await.is_some_and(|told| (told - value).abs() < 0.5) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("{metric} does not become {value}");
    };
    let orphans = r#"freehold_fsck_findings{class="orphan_database"}"#;
    becomes(orphans, 0.0).await;
    fleet.on_server("postgres").run(&format!("CREATE DATABASE {NOBODY}")).await;
    becomes(orphans, 1.0).await;
    fleet.on_server("postgres").run(&format!("DROP DATABASE {NOBODY}")).await;
    becomes(orphans, 0.0).await;
    becomes("freehold_isolation_successes", 0.0).await;
    assert!(told(&fleet, "freehold_isolation_attempts").await.unwrap() > 0.0);
}

async fn in_redis(fleet: &Fleet) {
    let key = "fh:ten_0190b6a4c1e87d3f8a2b5c6d7e8f9012:attempts:account:forgotten";
    redis(fleet, &format!("SET {key} 1")).await;
    let report = fsck(fleet).await;
    assert_eq!((&report["state"], &report["counts"]["stale_redis_key"]), (&json!("dirty"), &json!(1)), "{report}");
    redis(fleet, &format!("DEL {key}")).await;
    assert_eq!(fsck(fleet).await["state"], "clean");
    let other = fleet.another_replica(&[("FREEHOLD_REDIS_URL", "redis://127.0.0.1:1")], Clock::default()).await;
    let report = other.operator(fleet.operator().bearer()).get("/platform/v1/fsck").await.expect(200);
    assert_eq!(report["counts"]["unreachable_redis"], 1, "{report}");
}

/// Has Redis run a command.
async fn redis(fleet: &Fleet, command: &str) {
    let (_, rest) = fleet.setting("FREEHOLD_REDIS_URL").split_once("://").unwrap();
    let (login, address) = rest.split_once('@').unwrap();
    let (_, password) = login.split_once(':').unwrap();
    let mut socket = TcpStream::connect(address.trim_end_matches('/')).await.unwrap();
    socket.write_all(format!("AUTH {password}\r\n{command}\r\nQUIT\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("+OK") && !answer.contains('-'), "{answer}");
}

/// Seen only where the administrative role may read all statistics.
async fn idle_in_transaction(fleet: &Fleet, tenant: &Tenant<'_>) {
    let admin: String =
        fleet.control().value(&format!("SELECT admin_role FROM servers WHERE name = '{}'", fleet.server)).await;
    let server = fleet.on_server("postgres");
    server.run(&format!("GRANT pg_read_all_stats TO {admin}")).await;
    let session = tenant.database().connect().await.unwrap();
    session.batch_execute("BEGIN; SELECT FROM projects").await.unwrap();
    let report = fsck(fleet).await;
    assert_eq!((&report["state"], &report["counts"]["idle_in_transaction"]), (&json!("dirty"), &json!(1)), "{report}");
    session.batch_execute("ROLLBACK").await.unwrap();
    let report = fsck(fleet).await;
    server.run(&format!("REVOKE pg_read_all_stats FROM {admin}")).await;
    assert_eq!(report["state"], "clean", "{report}");
}
