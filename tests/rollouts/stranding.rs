//! No rollout takes away what a running replica uses, or what a backfill has not yet replaced.

use serde_json::{Value, json};

use super::{PATIENCE, ROLLOUTS, ask, ended, look, name, plain, publish, settle, settled, start};
use crate::harness::{eventually_within, fleet::Fleet};

/// The version of the product that the replicas of these tests carry.
async fn carried(fleet: &Fleet) -> i32 {
    fleet.control().value("SELECT min(schema_version) FROM replicas WHERE seen_at > now() - interval '1 minute'").await
}

/// A replica of the release before.
async fn older_replica(fleet: &Fleet, carries: i32) {
    let sql = format!(
        "INSERT INTO replicas (name, release, pool_size, registry_revision, registry_digest, schema_version,
                               oldest_schema_version, seen_at)
         VALUES ('older-replica', 'older', 1, 0, '', {carries}, 0, now() + interval '1 hour')"
    );
    fleet.control().run(&sql).await;
}

async fn replace_it(fleet: &Fleet) {
    fleet.control().run("DELETE FROM replicas WHERE name = 'older-replica'").await;
}

async fn obstacles(fleet: &Fleet, wanted: &Value) -> Vec<String> {
    let plan = fleet.operator().post(&format!("{ROLLOUTS}/plan"), wanted).await.expect(200);
    let obstacles = plan["obstacles"].as_array().unwrap();
    obstacles
        .iter()
        .map(|one| format!("{}: {}", one["code"].as_str().unwrap(), one["detail"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn nothing_is_taken_away_while_a_replica_of_an_older_release_runs() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 3).await;
    let column = name("doomed");
    publish(&fleet, &format!("ALTER TABLE projects ADD COLUMN {column} text")).await;
    settle(&fleet).await;
    let carried = carried(&fleet).await;
    let sql = format!(
        "-- freehold:contract oldest={carried}
         -- freehold:allow drop-column: no release uses it
         ALTER TABLE projects DROP COLUMN {column}; SELECT pg_sleep(1.5)"
    );
    let version = publish(&fleet, &sql).await;
    let wanted = json!({ "canary": [tenants[0].slug], "waves": ["100%"] });
    assert_eq!(obstacles(&fleet, &wanted).await, [""; 0]);
    older_replica(&fleet, carried - 1).await;
    let told = obstacles(&fleet, &wanted).await;
    let names = |text: &str| text.contains("older-replica") && text.contains(&format!("V{version}__"));
    assert!(told.len() == 1 && told[0].starts_with("replicas_outdated: ") && names(&told[0]), "{told:?}");
    let refused = fleet.operator().post(ROLLOUTS, &wanted).await;
    assert!(names(refused.problem(409, "replicas_outdated")["detail"].as_str().unwrap()));
    // Freehold's own stream and what is before the file are no reason to wait.
    let before = start(&fleet, &json!({ "target_version": version - 1 })).await;
    assert_eq!(look(&fleet, &before).await["state"], "succeeded");
    replace_it(&fleet).await;

    let id = start(&fleet, &wanted).await;
    eventually_within("the canary's turn", PATIENCE, async || {
        (look(&fleet, &id).await["waves"][0]["state"] == "running").then_some(())
    })
    .await;
    older_replica(&fleet, carried - 1).await;
    let paused = ended(&fleet, &id).await;
    let reason = paused["reason"].as_str().unwrap();
    assert!(paused["state"] == "paused" && reason.starts_with("replicas_outdated: ") && names(reason), "{paused}");
    assert_eq!(paused["counts"]["done"], 1, "{paused}");
    let refused = fleet.operator().post(&format!("{ROLLOUTS}/{id}/resume"), &json!({})).await;
    assert!(names(refused.problem(409, "replicas_outdated")["detail"].as_str().unwrap()));
    assert_eq!(look(&fleet, &id).await["state"], "paused");
    replace_it(&fleet).await;
    ask(&fleet, &id, "resume", &json!({})).await;
    assert_eq!(ended(&fleet, &id).await["state"], "succeeded");
    assert_eq!(tenants[2].seen(&fleet).await["schema_version"], version);
}

#[tokio::test]
async fn failed_tenants_are_not_tried_again_while_a_replica_of_an_older_release_runs() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 2).await;
    let (column, table) = (name("doomed"), name("strict"));
    let make = format!(
        "ALTER TABLE projects ADD COLUMN {column} text; CREATE TABLE {table} (id bigint PRIMARY KEY, text text)"
    );
    publish(&fleet, &make).await;
    settle(&fleet).await;
    tenants[1].database(&fleet).run(&format!("INSERT INTO {table} (id) VALUES (1)")).await;
    let carried = carried(&fleet).await;
    let sql = format!(
        "-- freehold:contract oldest={carried}
         -- freehold:allow drop-column: no release uses it
         ALTER TABLE projects DROP COLUMN {column};
         -- freehold:allow set-not-null: the table is small
         ALTER TABLE {table} ALTER text SET NOT NULL"
    );
    let version = publish(&fleet, &sql).await;
    let id = start(&fleet, &json!({ "waves": ["100%"], "max_failures": "1" })).await;
    assert_eq!(ended(&fleet, &id).await["state"], "failed");
    tenants[1].database(&fleet).run(&format!("UPDATE {table} SET text = ''")).await;
    older_replica(&fleet, carried - 1).await;
    let refused = fleet.operator().post(&format!("{ROLLOUTS}/{id}/retry"), &json!({})).await;
    refused.problem(409, "replicas_outdated");
    let unchanged = look(&fleet, &id).await;
    assert!(unchanged["state"] == "failed" && unchanged["counts"]["failed"] == 1, "{unchanged}");
    replace_it(&fleet).await;
    ask(&fleet, &id, "retry", &json!({})).await;
    assert_eq!(ended(&fleet, &id).await["state"], "succeeded");
    assert_eq!(tenants[1].seen(&fleet).await["schema_version"], version);
}

#[tokio::test]
async fn a_file_waits_for_the_backfill_that_it_names() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 2).await;
    let (table, carried) = (name("filled"), carried(&fleet).await);
    let make = format!(
        "CREATE TABLE {table} (id bigint PRIMARY KEY, old text, new text);
         INSERT INTO {table} SELECT n, 'x', NULL FROM generate_series(1, 1200) n"
    );
    publish(&fleet, &make).await;
    settle(&fleet).await;
    let fill = format!(
        "-- freehold:batched
         UPDATE {table} SET new = old WHERE id IN (SELECT id FROM {table} WHERE new IS NULL LIMIT $1)"
    );
    let filled = publish(&fleet, &fill).await;
    let contract = format!(
        "-- freehold:contract oldest={carried} backfill={filled}
         -- freehold:allow drop-column: no release uses it
         ALTER TABLE {table} DROP COLUMN old"
    );
    let version = publish(&fleet, &contract).await;
    let told = obstacles(&fleet, &json!({})).await;
    assert!(told.len() == 1 && told[0].starts_with("backfill_unfinished: "), "{told:?}");
    let refused = fleet.operator().post(ROLLOUTS, &json!({})).await;
    let refused = refused.problem(409, "backfill_unfinished");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains(&tenants[0].slug) || detail.contains(" more; "), "{detail}");

    let first = start(&fleet, &json!({ "waves": ["100%"], "target_version": filled })).await;
    assert_eq!(ended(&fleet, &first).await["state"], "succeeded");
    let unfilled = format!("SELECT count(*) FROM {table} WHERE new IS NULL");
    assert_eq!(tenants[0].database(&fleet).value::<i64>(&unfilled).await, 0);
    settle(&fleet).await;
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], version);
    fleet.assert_clean().await;
}
