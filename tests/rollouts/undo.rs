//! The way back: each tenant of a rollout gets the version again that it had before, and others stay where they are.

use serde_json::{Value, json};

use super::{
    PATIENCE, Plain, ROLLOUTS, ask, assert_nothing_is_left, ended, look, member, name, plain, publish_with_undo,
    settle, settled, start,
};
use crate::{
    harness::{eventually_within, fleet::Fleet},
    migrations::{MIGRATIONS, waived},
};

/// Starts the undo of a rollout; its id.
pub(super) async fn undo(fleet: &Fleet, id: &str, body: &Value) -> String {
    let started = ask(fleet, id, "undo", body).await;
    assert_eq!(started["undoes"], *id);
    started["id"].as_str().unwrap().to_owned()
}

/// What the undo of a rollout would do.
async fn dry(fleet: &Fleet, id: &str) -> Value {
    fleet.operator().post(&format!("{ROLLOUTS}/{id}/undo"), &json!({ "dry_run": true })).await.expect(200)
}

/// A rollout of all that is published, once it has succeeded; its id.
async fn rolled_out(fleet: &Fleet) -> String {
    let id = start(fleet, &json!({ "waves": ["100%"] })).await;
    assert_eq!(ended(fleet, &id).await["state"], "succeeded");
    id
}

fn all() -> Value {
    json!({ "waves": ["100%"] })
}

#[tokio::test]
async fn tenants_go_back_wave_by_wave_and_forward_again() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 6).await;
    let (column, table) = (name("gone"), name("kept"));
    let sql = format!("ALTER TABLE projects ADD COLUMN {column} text; CREATE TABLE {table} (id bigint PRIMARY KEY)");
    let back = format!("ALTER TABLE projects DROP COLUMN {column}; DROP TABLE {table}");
    let version = publish_with_undo(&fleet, &sql, &back).await;
    let id = rolled_out(&fleet).await;
    // Made at the newer version: it has no older one to go back to.
    let young = plain(&fleet, 1).await;
    tenants[0].database(&fleet).run(&format!("INSERT INTO {table} VALUES (1)")).await;

    let plan = dry(&fleet, &id).await;
    assert_eq!((&plan["undoes"], &plan["obstacles"], &plan["staying"]), (&json!(id), &json!([]), &json!(1)), "{plan}");
    assert_eq!(plan["schema_version"], version - 1);
    let file = &plan["files"][0];
    assert!(file["name"].as_str().unwrap().starts_with(&format!("U{version}__")), "{plan}");
    let lost = file["loses"].as_array().unwrap();
    assert!(lost.iter().any(|line| line.as_str().unwrap().contains(&table)), "{plan}");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], version, "a plan changes nothing");

    let canary = json!({ "canary": [tenants[0].slug], "waves": ["50%", "100%"] });
    let undone = undo(&fleet, &id, &canary).await;
    let rollout = ended(&fleet, &undone).await;
    assert_eq!((&rollout["state"], &rollout["counts"]["done"]), (&json!("succeeded"), &file["tenants"]), "{rollout}");
    assert_eq!(rollout["waves"].as_array().unwrap().len(), 3);
    for tenant in &tenants {
        let seen = member(&fleet, &undone, tenant).await;
        assert_eq!((&seen["from_version"], &seen["to_version"]), (&json!(version), &json!(version - 1)), "{seen}");
        assert_eq!(tenant.seen(&fleet).await["schema_version"], version - 1);
        let left = format!(
            "SELECT (SELECT count(*) FROM information_schema.columns WHERE column_name = '{column}')
                  + (SELECT count(*) FROM pg_class WHERE relname = '{table}')
                  + (SELECT count(*) FROM refinery_schema_history WHERE version = {version})"
        );
        assert_eq!(tenant.database(&fleet).value::<i64>(&left).await, 0);
    }
    assert_eq!(young[0].seen(&fleet).await["schema_version"], version, "it stays");
    let log = fleet.patiently(&format!("/platform/v1/audit-events?target={undone}&limit=200"), 0).await;
    let actions: Vec<_> = log["items"].as_array().unwrap().iter().map(|event| event["action"].clone()).collect();
    assert_eq!((actions.first(), actions.last()), (Some(&json!("rollout.end")), Some(&json!("rollout.undo"))));
    assert_nothing_is_left(&fleet).await;
    fleet.assert_clean().await;

    let again = undo(&fleet, &id, &all()).await;
    assert_eq!(look(&fleet, &again).await["state"], "succeeded", "all are back already");
    let answer = fleet.operator().post(&format!("{ROLLOUTS}/{undone}/undo"), &json!({})).await;
    answer.problem(409, "rollout_is_undo");
    settle(&fleet).await;
    for tenant in &tenants {
        assert_eq!(tenant.seen(&fleet).await["schema_version"], version);
    }
}

#[tokio::test]
async fn nothing_is_begun_while_an_undo_file_is_missing() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 2).await;
    let column = name("lasting");
    let version = super::publish(&fleet, &format!("ALTER TABLE projects ADD COLUMN {column} text")).await;
    let id = rolled_out(&fleet).await;
    let plan = dry(&fleet, &id).await;
    let missing = format!("U{version}__");
    assert_eq!(plan["obstacles"][0]["code"], "undo_missing", "{plan}");
    assert!(plan["obstacles"][0]["detail"].as_str().unwrap().contains(&missing), "{plan}");
    let refused = fleet.operator().post(&format!("{ROLLOUTS}/{id}/undo"), &json!({})).await;
    assert!(refused.problem(409, "undo_missing")["detail"].as_str().unwrap().contains(&missing));
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], version);

    // It may come later than its migration.
    let mut files = crate::migrations::published(&fleet).await;
    let undo_file = files.last().unwrap()["name"].as_str().unwrap().replacen('V', "U", 1);
    files.push(json!({ "name": undo_file, "sql": format!("ALTER TABLE projects DROP COLUMN {column}") }));
    fleet.operator().post(MIGRATIONS, &json!({ "files": files })).await.expect(200);
    let undone = undo(&fleet, &id, &all()).await;
    assert_eq!(ended(&fleet, &undone).await["state"], "succeeded");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], version - 1);
    settle(&fleet).await;
}

#[tokio::test]
async fn what_cannot_go_back_says_so_stays_between_and_is_mended_by_a_retry() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 3).await;
    let (table, column) = (name("strict"), name("late"));
    super::publish(&fleet, &format!("CREATE TABLE {table} (id bigint PRIMARY KEY, text text NOT NULL)")).await;
    settle(&fleet).await;
    let loose = format!("ALTER TABLE {table} ALTER text DROP NOT NULL");
    let strict = waived(&[("set-not-null", &format!("ALTER TABLE {table} ALTER text SET NOT NULL"))]);
    let first = publish_with_undo(&fleet, &loose, &strict).await;
    let add = format!("ALTER TABLE {table} ADD COLUMN {column} text");
    let second = publish_with_undo(&fleet, &add, &format!("ALTER TABLE {table} DROP COLUMN {column}")).await;
    let id = rolled_out(&fleet).await;
    tenants[1].database(&fleet).run(&format!("INSERT INTO {table} (id, text) VALUES (1, NULL)")).await;

    let undone = undo(&fleet, &id, &json!({ "waves": ["100%"], "max_failures": "1" })).await;
    let rollout = ended(&fleet, &undone).await;
    assert_eq!((&rollout["state"], &rollout["counts"]["failed"]), (&json!("failed"), &json!(1)), "{rollout}");
    let failed = member(&fleet, &undone, &tenants[1]).await;
    let error = failed["error"].as_str().unwrap();
    assert!(error.starts_with("migration_failed: ") && error.contains(&format!("U{first}__")), "{error}");
    assert!(error.contains("contains null values"), "{error}");
    assert_eq!(tenants[1].seen(&fleet).await["schema_version"], second - 1, "as far as it came");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], first - 1);

    tenants[1].database(&fleet).run(&format!("UPDATE {table} SET text = ''")).await;
    ask(&fleet, &undone, "retry", &json!({ "only": "failed" })).await;
    assert_eq!(ended(&fleet, &undone).await["state"], "succeeded");
    assert_eq!(tenants[1].seen(&fleet).await["schema_version"], first - 1);
    settle(&fleet).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn no_tenant_is_taken_below_what_running_replicas_serve() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 4).await;
    let version = publish_with_undo(&fleet, "SELECT 1", "SELECT pg_sleep(1.5)").await;
    let id = rolled_out(&fleet).await;
    let needy = format!(
        "INSERT INTO replicas (name, release, pool_size, registry_revision, registry_digest, schema_version,
                               oldest_schema_version, seen_at)
         VALUES ('needy-replica', 'newer', 1, 0, '', {version}, {version}, now() + interval '1 hour')"
    );
    let gone = "DELETE FROM replicas WHERE name = 'needy-replica'";
    fleet.control().run(&needy).await;
    let plan = dry(&fleet, &id).await;
    assert_eq!(plan["obstacles"][0]["code"], "replicas_need_newer", "{plan}");
    let refused = fleet.operator().post(&format!("{ROLLOUTS}/{id}/undo"), &json!({})).await;
    assert!(refused.problem(409, "replicas_need_newer")["detail"].as_str().unwrap().contains("needy-replica"));
    fleet.control().run(gone).await;

    let undone = undo(&fleet, &id, &json!({ "canary": [tenants[0].slug], "waves": ["100%"] })).await;
    eventually_within("the canary's turn", PATIENCE, async || {
        (look(&fleet, &undone).await["waves"][0]["state"] == "running").then_some(())
    })
    .await;
    // It is deployed meanwhile.
    fleet.control().run(&needy).await;
    let paused = ended(&fleet, &undone).await;
    let reason = paused["reason"].as_str().unwrap();
    assert!(paused["state"] == "paused" && reason.starts_with("replicas_need_newer: "), "{paused}");
    assert!(reason.contains("needy-replica") && paused["counts"]["done"] == 1, "{paused}");
    fleet.control().run(gone).await;
    ask(&fleet, &undone, "resume", &json!({})).await;
    assert_eq!(ended(&fleet, &undone).await["state"], "succeeded");
    assert_eq!(tenants[3].seen(&fleet).await["schema_version"], version - 1);
    settle(&fleet).await;
}

#[tokio::test]
async fn a_later_rollout_is_undone_first_and_archived_tenants_stay() {
    let fleet = settled().await;
    let (tenants, sleeper) = (plain(&fleet, 2).await, fleet.tenant().await);
    let (one, two) = (name("one"), name("two"));
    let publish = async |table: &str| {
        publish_with_undo(
            &fleet,
            &format!("CREATE TABLE {table} (id bigint PRIMARY KEY)"),
            &format!("DROP TABLE {table}"),
        )
        .await
    };
    let first = publish(&one).await;
    let older = rolled_out(&fleet).await;
    let second = publish(&two).await;
    let newer = rolled_out(&fleet).await;
    let act = async |action: &str| {
        let path = format!("/platform/v1/tenants/{}/{action}", sleeper.id);
        let asked = fleet.operator().post(&path, &json!({})).await.expect(202);
        fleet.finished(asked["operation_id"].as_str().unwrap()).await;
    };
    act("archive").await;

    let early = undo(&fleet, &older, &all()).await;
    assert_eq!(look(&fleet, &early).await["state"], "succeeded", "there is nobody to take back");
    let seen = member(&fleet, &early, &tenants[0]).await;
    assert!(seen["state"] == "skipped" && seen["error"].as_str().unwrap().starts_with("newer_version: "), "{seen}");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], second);

    let last = undo(&fleet, &newer, &all()).await;
    assert_eq!(ended(&fleet, &last).await["state"], "succeeded");
    let skipped = fleet.patiently(&format!("{ROLLOUTS}/{last}/tenants?state=skipped"), 0).await;
    assert_eq!(skipped["items"][0]["slug"], *sleeper.slug, "{skipped}");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], first);
    let both = undo(&fleet, &older, &all()).await;
    assert_eq!(ended(&fleet, &both).await["state"], "succeeded");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], first - 1);

    act("restore").await;
    let path = format!("/platform/v1/tenants/{}", sleeper.id);
    assert_eq!(fleet.patiently(&path, 0).await["schema_version"], second, "it wakes at the newest");
    assert_no_replica_does_it_again(&fleet, &both, &tenants[0]).await;
    settle(&fleet).await;
    fleet.assert_clean().await;
}

/// A replica that rolls out when it starts leaves alone what was undone, and so does the next one when something else was
/// rolled out meanwhile.
async fn assert_no_replica_does_it_again(fleet: &Fleet, last: &str, tenant: &Plain) {
    let newest = async || {
        let newest = fleet.patiently(&format!("{ROLLOUTS}?limit=1"), 0).await;
        newest["items"][0]["id"].as_str().unwrap().to_owned()
    };
    let start_another = async |name: &str| {
        let changes = [("FREEHOLD_ROLLOUT_ON_START", "true"), ("FREEHOLD_REPLICA", name)];
        let eager = fleet.another_replica(&changes, freehold::types::Clock::default()).await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        eager
    };
    start_another("eager-replica-1").await.stop().await;
    assert_eq!(newest().await, *last);

    // As if a newer release had brought another file of Freehold's own stream.
    let version = tenant.seen(fleet).await["schema_version"].clone();
    let behind = "UPDATE tenants SET freehold_version = freehold_version - 1 WHERE slug";
    fleet.control().run(&format!("{behind} = '{}'", tenant.slug)).await;
    let eager = start_another("eager-replica-2").await;
    let of_freehold = eventually_within("a rollout at the start", PATIENCE, async || {
        let newest = newest().await;
        (newest != *last).then_some(newest)
    })
    .await;
    assert_eq!(ended(fleet, &of_freehold).await["state"], "succeeded");
    assert_eq!(tenant.seen(fleet).await["schema_version"], version, "what was undone is not done again");
    eager.stop().await;
    start_another("eager-replica-3").await.stop().await;
    assert_eq!(newest().await, of_freehold, "nor by the next one");
    assert_eq!(tenant.seen(fleet).await["schema_version"], version);
}

#[tokio::test]
async fn what_a_later_rollout_has_done_again_is_not_undone_with_an_earlier_one() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 3).await;
    let table = name("strict");
    super::publish(&fleet, &format!("CREATE TABLE {table} (id bigint PRIMARY KEY, text text)")).await;
    settle(&fleet).await;
    let before = tenants[0].seen(&fleet).await["schema_version"].as_i64().unwrap();
    publish_with_undo(&fleet, "SELECT 1", "SELECT 1").await;
    let strict = waived(&[("set-not-null", &format!("ALTER TABLE {table} ALTER text SET NOT NULL"))]);
    let version = publish_with_undo(&fleet, &strict, &format!("ALTER TABLE {table} ALTER text DROP NOT NULL")).await;
    tenants[1].database(&fleet).run(&format!("INSERT INTO {table} (id) VALUES (1)")).await;
    let first = start(&fleet, &json!({ "waves": ["100%"], "max_failures": "1" })).await;
    assert_eq!(ended(&fleet, &first).await["state"], "failed");
    tenants[1].database(&fleet).run(&format!("UPDATE {table} SET text = ''")).await;
    let second = rolled_out(&fleet).await;
    assert_eq!(member(&fleet, &second, &tenants[1]).await["state"], "done");

    let undone = undo(&fleet, &first, &all()).await;
    assert_eq!(ended(&fleet, &undone).await["state"], "succeeded");
    let seen = member(&fleet, &undone, &tenants[1]).await;
    assert!(seen["state"] == "skipped" && seen["error"].as_str().unwrap().starts_with("newer_version: "), "{seen}");
    assert_eq!(tenants[1].seen(&fleet).await["schema_version"], version, "the second rollout took it there");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], before);
    let answer = fleet.operator().post(&format!("{ROLLOUTS}/{first}/retry"), &json!({})).await;
    let refused = answer.problem(409, "rollout_finished");
    assert!(refused["detail"].as_str().unwrap().contains(&undone), "what was undone does not go on: {refused}");

    let third = rolled_out(&fleet).await;
    let again = undo(&fleet, &first, &all()).await;
    assert_eq!(look(&fleet, &again).await["state"], "succeeded", "there is nobody to take back");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], version, "the third rollout took it there");
    let last = undo(&fleet, &third, &all()).await;
    assert_eq!(ended(&fleet, &last).await["state"], "succeeded");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], before);
    settle(&fleet).await;
    fleet.assert_clean().await;
}
