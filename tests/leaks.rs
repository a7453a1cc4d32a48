//! What leaked is mended by the janitor, and nothing else: every leak is made by hand, beside those that only look so.

mod slugs;

use std::time::Duration;

use freehold::types::{Clock, Random, TenantId};
use serde_json::{Value, json};

use crate::{
    harness::{
        PASSWORD,
        fleet::{self, Fleet},
        replica::Replica,
        sql::Database,
        tenant::new_tenant,
        unique,
    },
    warm::{held_back, keep, left_of, warm_ids},
};

/// A sweep, a step that is repeated and a DROP or two, on a busy machine.
const MENDED: Duration = Duration::from_mins(1);

async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !look().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(MENDED, looking).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

fn fresh_id() -> String {
    TenantId::generate(&Clock::default(), Random).to_string()
}

fn uuid(id: &str) -> String {
    id.replace("ten_", "")
}

/// A replica whose janitor sweeps at once, and looks at the servers every second.
async fn janitor(fleet: &Fleet) -> Replica {
    let (name, interval) = (unique("janitor"), ("FREEHOLD_FSCK_INTERVAL_SECONDS", "1"));
    fleet.another_replica(&[("FREEHOLD_REPLICA", &name), interval], Clock::default()).await
}

/// What `fsck` finds of a class.
async fn found(fleet: &Fleet, class: &str) -> Vec<String> {
    let report = fleet.patiently("/platform/v1/fsck", 0).await;
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["class"] == class);
    findings.map(|finding| finding["object"].as_str().unwrap().to_owned()).collect()
}

/// What the janitor has noted about something.
async fn noted(fleet: &Fleet, action: &str, id: &str) -> Vec<Value> {
    let sql = format!(
        "SELECT jsonb_build_object('actor', actor, 'details', details)::text FROM audit_events
          WHERE action = '{action}' AND target = '{id}'"
    );
    let lines = fleet.control().values::<String>(&sql).await;
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn counted(fleet: &Fleet, chore: &str) -> f64 {
    let (metrics, name) = (fleet.metrics().await, format!("freehold_janitor_chores_total{{chore=\"{chore}\"}} "));
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0.0, |value| value.parse().unwrap())
}

/// A warm database's row that says it is being made since `created`, by nobody.
async fn stray(fleet: &Fleet, id: &str, created: &str) {
    let sql = format!(
        "INSERT INTO warm_databases (id, server_id, template, freehold_version, schema_version, created_at)
         SELECT '{}', id, 'none', 1, 1, {created} FROM servers WHERE name = '{}'",
        uuid(id),
        fleet.server
    );
    fleet.control().run(&sql).await;
}

/// An operation on it, with what its columns `state` and `finished_at` say.
async fn operation(fleet: &Fleet, id: &str, end: &str) {
    let sql = format!(
        "INSERT INTO operations (id, kind, tenant_id, input, requested_by, state, finished_at)
         VALUES ('{0}', 'warm.make', '{0}', '{{}}', 'test', {end})",
        uuid(id)
    );
    fleet.control().run(&sql).await;
}

/// A warm database, and what keeps the keeper from making or taking away others.
async fn one_warm(fleet: &Fleet) -> (tokio_postgres::Client, String) {
    keep(fleet, 1).await;
    let keeper = held_back(fleet).await;
    (keeper, warm_ids(fleet).await.into_iter().next().unwrap())
}

#[tokio::test]
async fn a_warm_database_that_nobody_works_on_is_taken_away() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    keep(&fleet, 2).await;
    let keeper = held_back(&fleet).await;
    let leaked: Vec<_> = warm_ids(&fleet).await.into_iter().collect();
    // These only look so: too young, at work, at work a moment ago, a tenant's.
    let [young, busy, ended] = [fresh_id(), fresh_id(), fresh_id()];
    // Before the rows that they are about: the fleet's own janitor may sweep at any moment.
    operation(&fleet, &busy, "'blocked', NULL").await;
    operation(&fleet, &ended, "'failed', now()").await;
    stray(&fleet, &young, "now()").await;
    for id in [&busy, &ended, &tenant.id] {
        stray(&fleet, id, "now() - interval '1 day'").await;
    }
    let spared = [&young, &busy, &ended, &tenant.id].map(|id| uuid(id)).join("','");
    let (before, [making, retiring]) = (counted(&fleet, "leaked_databases").await, [&leaked[0], &leaked[1]]);
    for (id, leak) in [
        (making, "state = 'making', created_at = now() - interval '2 minutes', ready_at = NULL"),
        (
            retiring,
            "state = 'retiring', created_at = now() - interval '1 day', ready_at = now() - interval '2 minutes'",
        ),
    ] {
        let made = "UPDATE operations SET finished_at = now() - interval '2 minutes' WHERE finished_at IS NOT NULL";
        let leak = format!("UPDATE warm_databases SET {leak} WHERE id = '{0}'; {made} AND tenant_id = '{0}'", uuid(id));
        fleet.control().run(&leak).await;
    }
    let _janitor = janitor(&fleet).await;
    for id in &leaked {
        eventually("a leaked database to go", async || !warm_ids(&fleet).await.contains(id)).await;
        assert_eq!(left_of(&fleet.on_server("postgres"), id).await, 0, "{id}");
        let keys = format!("SELECT count(*) FROM data_keys WHERE owner_id = '{}'", uuid(id));
        assert_eq!(fleet.control().value::<i64>(&keys).await, 0);
        let lines = noted(&fleet, "janitor.clear", id).await;
        assert!(lines.len() == 1 && lines[0]["actor"].as_str().unwrap().starts_with("system:"), "{lines:?}");
        fleet.finished(lines[0]["details"]["operation_id"].as_str().unwrap()).await;
    }
    assert!(counted(&fleet, "leaked_databases").await >= before + 2.0);
    let kept = format!("SELECT count(*) FROM warm_databases WHERE state = 'making' AND id IN ('{spared}')");
    assert_eq!(fleet.control().value::<i64>(&kept).await, 4, "what is under way, or a tenant's, was taken for a leak");
    assert_eq!(left_of(&fleet.on_server("postgres"), &tenant.id).await, 2);
    tenant.admin.get("/v1/projects").await.expect(200);
    let away =
        format!("DELETE FROM warm_databases WHERE id IN ('{spared}'); DELETE FROM operations WHERE id IN ('{spared}')");
    fleet.control().run(&away).await;
    drop(keeper);
    keep(&fleet, 0).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_database_that_people_use_is_no_warm_one_whatever_the_control_database_says() {
    let fleet = fleet::alone().await;
    let (keeper, id) = one_warm(&fleet).await;
    let (server, name) = (fleet.on_server("postgres"), id.replace("ten_", "tenant_"));
    let own = fleet.on_server(&name);
    // As after a control database from a backup: by now a customer has it.
    let person = "INSERT INTO freehold.users (id, email, name, role) VALUES (gen_random_uuid(), 'ada@example.com', 'Ada', 'owner')";
    own.run(person).await;
    let old = "now() - interval '1 day'";
    let leak = format!(
        "UPDATE warm_databases SET state = 'making', created_at = {old}, ready_at = NULL WHERE id = '{0}';
         UPDATE operations SET finished_at = {old} WHERE finished_at IS NOT NULL AND tenant_id = '{0}'",
        uuid(&id)
    );
    fleet.control().run(&leak).await;
    let operation = {
        let _janitor = janitor(&fleet).await;
        let sql = format!(
            "SELECT 'op_' || replace(id::text, '-', '') FROM operations
              WHERE kind = 'remains.clear' AND tenant_id = '{}' AND error LIKE 'database_used: %'",
            uuid(&id)
        );
        let control = fleet.control();
        eventually("it to say why not", async || !control.values::<String>(&sql).await.is_empty()).await;
        control.value::<String>(&sql).await
    };
    assert_eq!(left_of(&server, &id).await, 2, "a used database was dropped");
    own.run("DELETE FROM freehold.users").await;
    retried(&fleet, &format!("/platform/v1/operations/{operation}"), "succeeded").await;
    assert_eq!(left_of(&server, &id).await, 0);
    drop(keeper);
    keep(&fleet, 0).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn no_tenant_gets_a_database_that_people_use() {
    let fleet = fleet::alone().await;
    let (keeper, id) = one_warm(&fleet).await;
    let own = fleet.on_server(&id.replace("ten_", "tenant_"));
    let person = "INSERT INTO freehold.users (id, email, name, role) VALUES (gen_random_uuid(), 'grace@example.com', 'Grace', 'owner')";
    own.run(person).await;
    let made = fleet.operator().post("/platform/v1/tenants", &new_tenant(&unique("used"))).await.expect(201);
    assert_eq!(made["id"], *id);
    let operation = format!("/platform/v1/operations/{}", made["operation_id"].as_str().unwrap());
    eventually("it to say why not", async || {
        let steps = fleet.patiently(&operation, 0).await["steps"].clone();
        let refused = |step: &Value| step["error"].as_str().is_some_and(|error| error.starts_with("database_used: "));
        steps.as_array().unwrap().iter().any(refused)
    })
    .await;
    assert_eq!(
        own.value::<i64>("SELECT count(*) FROM freehold.users").await,
        1,
        "somebody was added to a used database"
    );
    assert_eq!(own.value::<i64>("SELECT count(*) FROM freehold.invitations").await, 0);
    own.run("DELETE FROM freehold.users").await;
    retried(&fleet, &operation, "succeeded").await;
    assert_eq!(own.value::<i64>("SELECT count(*) FROM freehold.users").await, 1);
    drop(keeper);
    keep(&fleet, 0).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_used_database_is_neither_retired_nor_taken_along_by_a_tenant_that_is_cancelled() {
    let fleet = fleet::alone().await;
    let server = fleet.on_server("postgres");
    let person = "INSERT INTO freehold.users (id, email, name, role) VALUES (gen_random_uuid(), 'lise@example.com', 'Lise', 'owner')";
    let (keeper, id) = one_warm(&fleet).await;
    let own = fleet.on_server(&id.replace("ten_", "tenant_"));
    own.run(person).await;
    fleet.control().run(&format!("UPDATE servers SET warm_target = 0 WHERE name = '{}'", fleet.server)).await;
    // One too many is kept for a while.
    fleet.control().run("UPDATE warm_databases SET ready_at = now() - interval '1 day'").await;
    drop(keeper);
    let refused = format!(
        "SELECT 'op_' || replace(id::text, '-', '') FROM operations
          WHERE kind = 'warm.retire' AND tenant_id = '{}' AND error LIKE 'database_used: %'",
        uuid(&id)
    );
    eventually("it to say why not", async || !fleet.control().values::<String>(&refused).await.is_empty()).await;
    assert_eq!(left_of(&server, &id).await, 2, "a used database was retired");
    let operation = fleet.control().value::<String>(&refused).await;
    own.run("DELETE FROM freehold.users").await;
    retried(&fleet, &format!("/platform/v1/operations/{operation}"), "succeeded").await;
    assert_eq!(left_of(&server, &id).await, 0);

    let (keeper, id) = one_warm(&fleet).await;
    let own = fleet.on_server(&id.replace("ten_", "tenant_"));
    own.run(person).await;
    let made = fleet.operator().post("/platform/v1/tenants", &new_tenant(&unique("used"))).await.expect(201);
    assert_eq!(made["id"], *id);
    let operation = format!("/platform/v1/operations/{}", made["operation_id"].as_str().unwrap());
    fleet.operator().post(&format!("{operation}/cancel"), &json!({})).await.expect(202);
    eventually("its undoing to say why not", async || {
        let now = fleet.patiently(&operation, 0).await;
        let is_refused = now["error"].as_str().is_some_and(|error| error.starts_with("database_used: "));
        now["direction"] == "undo" && is_refused
    })
    .await;
    assert_eq!(left_of(&server, &id).await, 2, "a used database was dropped");
    own.run("DELETE FROM freehold.users").await;
    retried(&fleet, &operation, "cancelled").await;
    assert_eq!(left_of(&server, &id).await, 0);
    drop(keeper);
    keep(&fleet, 0).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_used_database_does_not_go_with_the_making_that_the_control_database_has_come_back_to() {
    let fleet = fleet::alone().await;
    let (keeper, id) = one_warm(&fleet).await;
    let (server, own) = (fleet.on_server("postgres"), fleet.on_server(&id.replace("ten_", "tenant_")));
    own.run(
        "INSERT INTO freehold.users (id, email, name, role) VALUES (gen_random_uuid(), 'emmy@example.com', 'Emmy', 'owner')",
    )
    .await;
    let being_made = format!(
        "UPDATE warm_databases SET state = 'making', ready_at = NULL WHERE id = '{0}';
         UPDATE operation_steps SET state = 'pending', attempts = 0 WHERE name = 'mark_ready' AND operation_id IN
             (SELECT id FROM operations WHERE tenant_id = '{0}');
         UPDATE operations SET state = 'queued', finished_at = NULL, run_after = now(), cancel_requested_at = now()
          WHERE tenant_id = '{0}'",
        uuid(&id)
    );
    fleet.control().run(&being_made).await;
    let refused = format!(
        "SELECT 'op_' || replace(id::text, '-', '') FROM operations
          WHERE tenant_id = '{}' AND direction = 'undo' AND error LIKE 'database_used: %'",
        uuid(&id)
    );
    eventually("its undoing to say why not", async || !fleet.control().values::<String>(&refused).await.is_empty())
        .await;
    assert_eq!(left_of(&server, &id).await, 2, "a used database was dropped");
    let operation = format!("/platform/v1/operations/{}", fleet.control().value::<String>(&refused).await);
    own.run("DELETE FROM freehold.users").await;
    retried(&fleet, &operation, "cancelled").await;
    assert_eq!(left_of(&server, &id).await, 0);
    drop(keeper);
    keep(&fleet, 0).await;
    fleet.assert_clean().await;
}

/// Retries the operation whenever it is blocked, until it has ended like this.
async fn retried(fleet: &Fleet, operation: &str, end: &str) {
    eventually("it to be tried again", async || {
        let state = fleet.patiently(operation, 0).await["state"].clone();
        if state == "blocked" {
            fleet.operator().post(&format!("{operation}/retry"), &json!({})).await.expect(202);
        }
        state == end
    })
    .await;
}

#[tokio::test]
async fn a_replica_whose_janitor_is_off_leaves_everything_as_it_is() {
    let fleet = fleet::undisturbed().await;
    let id = fresh_id();
    stray(&fleet, &id, "now() - interval '1 day'").await;
    // Longer than it takes a janitor to sweep for the first time, and again.
    tokio::time::sleep(Duration::from_secs(if cfg!(feature = "crash-points") { 3 } else { 12 })).await;
    assert!(warm_ids(&fleet).await.contains(&id), "it was swept");
    assert!(noted(&fleet, "janitor.clear", &id).await.is_empty());
    let _janitor = fleet.another_replica(&[("FREEHOLD_JANITOR", "true")], Clock::default()).await;
    eventually("another replica to sweep", async || !warm_ids(&fleet).await.contains(&id)).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn what_is_a_tenants_by_then_is_not_cleared() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    stray(&fleet, &tenant.id, "now()").await;
    // As if the tenant had come back from a backup while the operation was waiting.
    let queued = format!(
        "WITH operation AS (
             INSERT INTO operations (id, kind, tenant_id, input, requested_by)
             SELECT gen_random_uuid(), 'remains.clear', '{}',
                    jsonb_build_object('server_id', 'srv_' || replace(id::text, '-', '')), 'test'
             FROM servers WHERE name = '{}' RETURNING id
         ), steps AS (
             INSERT INTO operation_steps (operation_id, position, name, state, attempts)
             SELECT operation.id, ordinality - 1, name, CASE ordinality WHEN 1 THEN 'succeeded' ELSE 'pending' END,
                    CASE ordinality WHEN 1 THEN 1 ELSE 0 END
             FROM operation, unnest(ARRAY['record', 'drop_database', 'drop_role', 'forget'])
                             WITH ORDINALITY AS steps (name, ordinality)
         )
         SELECT 'op_' || replace(id::text, '-', '') FROM operation",
        uuid(&tenant.id),
        fleet.server
    );
    let operation = fleet.control().value::<String>(&queued).await;
    fleet.finished(&operation).await;
    assert!(!warm_ids(&fleet).await.contains(&tenant.id));
    assert_eq!(left_of(&fleet.on_server("postgres"), &tenant.id).await, 2);
    let keys = format!("SELECT count(*) FROM data_keys WHERE owner_id = '{}'", uuid(&tenant.id));
    assert_eq!(fleet.control().value::<i64>(&keys).await, 1, "a tenant's keys were destroyed");
    // A replica that remembers nothing opens them.
    let fresh = fleet.another_replica(&[("FREEHOLD_OPERATION_CONCURRENCY", "0")], Clock::default()).await;
    fresh.anonymous(&tenant.slug).login(&tenant.admin_email, PASSWORD).await.expect(200);
    fleet.assert_clean().await;
}

#[tokio::test]
async fn what_is_somebody_elses_stays_though_a_leak_has_its_name() {
    let fleet = fleet::alone().await;
    let (id, server) = (fresh_id(), fleet.on_server("postgres"));
    let name = id.replace("ten_", "tenant_");
    server.run(&format!("CREATE DATABASE {name}")).await;
    stray(&fleet, &id, "now() - interval '1 day'").await;
    let path = async || {
        let sql =
            format!("SELECT 'op_' || replace(id::text, '-', '') FROM operations WHERE tenant_id = '{}'", uuid(&id));
        fleet
            .control()
            .values::<String>(&sql)
            .await
            .pop()
            .map(|operation| format!("/platform/v1/operations/{operation}"))
    };
    let operator = fleet.operator();
    eventually("the operation to say why not", async || match path().await {
        Some(path) => operator.get(&path).await.text().contains("does not belong to Freehold"),
        None => false,
    })
    .await;
    assert_eq!(left_of(&server, &id).await, 1);
    let path = path().await.unwrap();
    // It could become half of a database that a tenant is given.
    operator.post(&format!("{path}/cancel"), &json!({})).await.problem(409, "operation_not_cancellable");
    server.run(&format!("DROP DATABASE {name}")).await;
    fleet.finished(path.rsplit_once('/').unwrap().1).await;
    fleet.assert_clean().await;
}

/// Says of tenants' rows that they were changed last an hour ago. Their trigger would say that it was now.
async fn age(control: &Database, slugs: &[&str]) {
    let slugs = slugs.join("','");
    let sql = format!(
        "SET session_replication_role = replica;
         UPDATE tenants SET updated_at = now() - interval '1 hour' WHERE slug IN ('{slugs}')"
    );
    control.run(&sql).await;
}

/// A tenant that is a row only, in this state, with no slug that is held for it; its id.
async fn row(fleet: &Fleet, slug: &str, state: &str) -> String {
    let sql = format!(
        "INSERT INTO tenants (id, slug, name, state, plan, server_id)
         SELECT gen_random_uuid(), '{slug}', '', '{state}', 'default', id FROM servers WHERE name = '{}'
         RETURNING 'ten_' || replace(id::text, '-', '')",
        fleet.server
    );
    fleet.control().value(&sql).await
}

/// Makes tombstones of them, for which nothing is held: replicas would remember rows that are deleted.
async fn bury(control: &Database, slugs: &[String]) {
    let these = format!("tenants WHERE slug IN ('{}')", slugs.join("','"));
    control.run(&format!("DELETE FROM slugs WHERE tenant_id IN (SELECT id FROM {these})")).await;
    control.run(&format!("UPDATE {} ", these.replace(" WHERE ", " SET state = 'deleted' WHERE "))).await;
}

/// A database of this owner, as a DROP that was interrupted or a restore may leave it, and a role.
async fn left_behind(server: &Database, id: &str, owner: &str, then: &str) {
    let name = id.replace("ten_", "tenant_");
    // As Freehold does: from PostgreSQL 16 on nobody else but a superuser could drop it.
    server.run(&format!("SET ROLE freehold_admin; CREATE ROLE {name}; RESET ROLE")).await;
    server.run(&format!("CREATE DATABASE {name} OWNER {owner}")).await;
    server.run(&format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC; {}", then.replace("{}", &name))).await;
}

#[tokio::test]
async fn an_interrupted_drop_is_finished_where_a_tombstone_says_whose_it_was() {
    let fleet = fleet::alone().await;
    let (control, server) = (fleet.control(), fleet.on_server("postgres"));
    let names = ["gone", "whole", "unmarked", "foreign", "young"].map(unique);
    let mark = "COMMENT ON DATABASE {} IS 'managed by freehold';";
    let cut = "UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{}';";
    let mut ids = Vec::new();
    for (slug, owner, then) in [
        (&names[0], "freehold_owner", format!("{mark}{cut}")),
        (&names[1], "freehold_owner", mark.to_owned()),
        (&names[2], "freehold_owner", cut.to_owned()),
        (&names[3], "postgres", format!("{mark}{cut}")),
        (&names[4], "freehold_owner", format!("{mark}{cut}")),
    ] {
        let id = row(&fleet, slug, "deleted").await;
        left_behind(&server, &id, owner, &then).await;
        ids.push(id);
    }
    // One of a tenant that is alive, and one that nothing is known of.
    let (alive, nobodys) = (fleet.tenant().await, fresh_id());
    server.run(&cut.replace("{}", &alive.database_name())).await;
    left_behind(&server, &nobodys, "freehold_owner", &format!("{mark}{cut}")).await;
    let old: Vec<_> = names.iter().take(4).map(String::as_str).collect();
    age(&control, &[&*alive.slug].into_iter().chain(old).collect::<Vec<_>>()).await;
    let before = counted(&fleet, "interrupted_drops").await;
    let _janitor = janitor(&fleet).await;
    eventually("the drop to be finished", async || left_of(&server, &ids[0]).await == 0).await;
    assert!(counted(&fleet, "interrupted_drops").await > before);
    assert_eq!(noted(&fleet, "janitor.clear", &ids[0]).await.len(), 1);
    // The last one is looked at after all others.
    assert_eq!(left_of(&server, &ids[4]).await, 2, "too young");
    age(&control, &[&names[4]]).await;
    eventually("the young one to grow old", async || left_of(&server, &ids[4]).await == 0).await;
    for id in [&ids[1], &ids[2], &ids[3], &alive.id, &nobodys] {
        assert_eq!(left_of(&server, id).await, 2, "{id}");
        assert!(noted(&fleet, "janitor.clear", id).await.is_empty(), "{id}");
    }
    let mut reported = found(&fleet, "invalid_database").await;
    reported.sort_unstable();
    let mut expected = [&ids[2], &ids[3], &alive.id, &nobodys].map(|id| id.replace("ten_", "tenant_"));
    expected.sort_unstable();
    assert_eq!(reported, expected);
    let mend = format!("UPDATE pg_database SET datconnlimit = -1 WHERE datname = '{}'", alive.database_name());
    server.run(&mend).await;
    for id in [&ids[1], &ids[2], &ids[3], &nobodys] {
        let name = id.replace("ten_", "tenant_");
        server.run(&format!("DROP DATABASE {name}")).await;
        server.run(&format!("DROP ROLE {name}")).await;
    }
    bury(&control, &names).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_scratch_database_in_which_no_archive_is_tried_is_cleared() {
    let fleet = fleet::alone().await;
    let (tenant, other) = (fleet.tenant().await, fleet.tenant().await);
    let server = fleet.on_server("postgres");
    let [marked, unmarked] = [&tenant, &other].map(|one| one.database_name().replace("tenant_", "freehold_scratch_"));
    for name in [&marked, &unmarked] {
        server.run(&format!("CREATE DATABASE {name} OWNER freehold_owner")).await;
        server.run(&format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC")).await;
    }
    server.run(&format!("COMMENT ON DATABASE {marked} IS 'managed by freehold'")).await;
    let orphans = found(&fleet, "orphan_database").await;
    assert!(orphans.contains(&marked) && orphans.contains(&unmarked), "{orphans:?}");
    let janitor = janitor(&fleet).await;
    let count = |name: &str| format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    eventually("the scratch database to go", async || server.value::<i64>(&count(&marked)).await == 0).await;
    let lines = noted(&fleet, "janitor.clear", &tenant.id).await;
    fleet.finished(lines[0]["details"]["operation_id"].as_str().unwrap()).await;
    assert_eq!(left_of(&server, &tenant.id).await, 2, "more than the scratch database was cleared");
    for one in [&tenant, &other] {
        one.admin.get("/v1/projects").await.expect(200);
    }
    assert_eq!(server.value::<i64>(&count(&unmarked)).await, 1, "without the mark it may be somebody else's");
    server.run(&format!("DROP DATABASE {unmarked}")).await;
    drop(janitor);
    fleet.assert_clean().await;
}
