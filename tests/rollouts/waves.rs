//! Canaries, waves, and the proof; and that a rollout with nothing to do asks nobody.

use serde_json::{Value, json};

use super::{ROLLOUTS, ask, assert_nothing_is_left, ended, look, member, name, plain, publish, settled, start};
use crate::{
    harness::{fleet::Fleet, is_soak},
    migrations::waived,
};

#[tokio::test]
async fn canaries_and_waves_take_twenty_tenants_one_after_another() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 20).await;
    let column = name("colour");
    let version = publish(&fleet, &format!("ALTER TABLE projects ADD COLUMN {column} text")).await;
    let wanted = json!({ "canary": [tenants[0].slug, tenants[1].id], "waves": ["25%", "100%"] });
    let plan = fleet.operator().post(&format!("{ROLLOUTS}/plan"), &wanted).await.expect(200);
    let sizes: Vec<_> = plan["waves"].as_array().unwrap().iter().map(|wave| wave["count"].as_u64().unwrap()).collect();
    let total: u64 = sizes.iter().sum();
    assert_eq!((sizes[0], plan["schema_version"].as_i64()), (2, Some(version.into())), "{plan}");
    assert!(total >= 20 && sizes[1] == total.div_ceil(4) - 2, "{plan}");
    assert_eq!(plan["files"][0]["tenants"], total, "{plan}");
    let id = start(&fleet, &wanted).await;
    let rollout = ended(&fleet, &id).await;
    assert_eq!((&rollout["state"], &rollout["counts"]["done"]), (&json!("succeeded"), &json!(total)), "{rollout}");
    for tenant in &tenants {
        let seen = member(&fleet, &id, tenant).await;
        assert_eq!((&seen["state"], &seen["attempts"], &seen["adopted"]), (&json!("done"), &json!(1), &json!(false)));
        assert_eq!(seen["to_version"], version);
        assert_eq!(tenant.seen(&fleet).await["schema_version"], version);
        let held = format!(
            "SELECT count(*) FROM refinery_schema_history h, information_schema.columns c
              WHERE h.version = {version} AND c.table_name = 'projects' AND c.column_name = '{column}'"
        );
        assert_eq!(tenant.database(&fleet).value::<i64>(&held).await, 1);
    }
    assert_eq!(member(&fleet, &id, &tenants[0]).await["wave"], 0);
    let waves = rollout["waves"].as_array().unwrap();
    let time =
        |wave: &Value, what: &str| wave[what].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(waves.windows(2).all(|two| time(&two[1], "started_at") >= time(&two[0], "finished_at")), "{rollout}");
    let log = fleet.patiently(&format!("/platform/v1/audit-events?target={id}&limit=200"), 0).await;
    let actions: Vec<_> = log["items"].as_array().unwrap().iter().map(|event| event["action"].clone()).collect();
    assert_eq!(actions.first(), Some(&json!("rollout.end")));
    assert_eq!(actions.last(), Some(&json!("rollout.start")));
    assert_nothing_is_left(&fleet).await;
    fleet.assert_clean().await;
    assert_nobody_is_asked(&fleet).await;
}

/// With nothing to do, a rollout has succeeded at once, and no session was opened in a tenant's database.
async fn assert_nobody_is_asked(fleet: &Fleet) {
    let sessions = "SELECT coalesce(sum(sessions), 0)::int8 FROM pg_stat_database WHERE datname LIKE 'tenant_%'";
    let before: i64 = fleet.on_server("postgres").value(sessions).await;
    let answer = fleet.operator().post(ROLLOUTS, &json!({})).await;
    let rollout = answer.expect(202);
    assert_eq!((&rollout["state"], &rollout["waves"]), (&json!("succeeded"), &json!([])), "{rollout}");
    assert_eq!(fleet.on_server("postgres").value::<i64>(sessions).await, before);
}

#[tokio::test]
async fn a_tenant_that_fails_serves_on_and_is_mended_by_a_retry() {
    let fleet = settled().await;
    let tenants = plain(&fleet, if is_soak() { 199 } else { 5 }).await;
    let owner = fleet.tenant().await;
    owner.admin.post("/v1/projects", &json!({ "name": "in the way" })).await.expect(201);
    let (constraint, counter) = (name("projects_fine"), name("counter"));
    let made = format!("CREATE TABLE {counter} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)");
    let inserted = format!("INSERT INTO {counter} DEFAULT VALUES");
    let checked = format!("ALTER TABLE projects ADD CONSTRAINT {constraint} CHECK (name <> 'in the way')");
    let version = publish(&fleet, &waived(&[("", &made), ("", &inserted), ("add-check", &checked)])).await;
    let id = start(&fleet, &json!({ "waves": ["100%"], "max_failures": "1" })).await;
    let rollout = ended(&fleet, &id).await;
    assert_eq!((&rollout["state"], &rollout["counts"]["failed"]), (&json!("failed"), &json!(1)), "{rollout}");
    let failed = fleet.patiently(&format!("{ROLLOUTS}/{id}/tenants?state=failed"), 0).await;
    let failed = &failed["items"][0];
    assert_eq!(failed["slug"], *owner.slug);
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("violated by some row") && error.contains(&constraint), "{error}");
    let path = format!("/platform/v1/tenants/{}", owner.id);
    assert_eq!(fleet.patiently(&path, 0).await["schema_version"], version - 1);
    assert_eq!(owner.admin.get("/v1/projects").await.expect(200)["items"][0]["name"], "in the way");
    for tenant in &tenants {
        assert_eq!(member(&fleet, &id, tenant).await["state"], "done");
    }
    let applied = "SELECT max(applied_on) FROM refinery_schema_history";
    let before: String = tenants[0].database(&fleet).value(applied).await;
    owner.database().run("UPDATE projects SET name = 'out of the way'").await;
    ask(&fleet, &id, "retry", &json!({ "only": "failed" })).await;
    let rollout = ended(&fleet, &id).await;
    assert_eq!((&rollout["state"], &rollout["counts"]["failed"]), (&json!("succeeded"), &json!(0)), "{rollout}");
    assert_eq!(tenants[0].database(&fleet).value::<String>(applied).await, before);
    let count = format!("SELECT count(*) FROM {counter}");
    assert_eq!(owner.database().value::<i64>(&count).await, 1);
    assert_eq!(tenants[0].database(&fleet).value::<i64>(&count).await, 1);
    assert_eq!(owner.admin.get("/v1/projects").await.expect(200)["items"][0]["name"], "out of the way");
    ask_in_vain(&fleet, &id, "retry").await;
}

async fn ask_in_vain(fleet: &Fleet, id: &str, verb: &str) {
    fleet.operator().post(&format!("{ROLLOUTS}/{id}/{verb}"), &json!({})).await.problem(409, "rollout_finished");
}

#[tokio::test]
async fn a_canary_that_fails_pauses_the_rollout_until_an_operator_goes_on() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 3).await;
    let table = name("taken");
    publish(&fleet, &format!("CREATE TABLE {table} (id bigint PRIMARY KEY)")).await;
    tenants[0].database(&fleet).run(&format!("SET ROLE freehold_owner; CREATE TABLE {table} (id text)")).await;
    let id = start(&fleet, &json!({ "canary": [tenants[0].slug], "waves": ["100%"], "max_failures": "50%" })).await;
    let rollout = ended(&fleet, &id).await;
    assert_eq!(rollout["state"], "paused", "{rollout}");
    assert!(rollout["reason"].as_str().unwrap().starts_with("canary_failed: "), "{rollout}");
    assert_eq!(member(&fleet, &id, &tenants[1]).await["state"], "pending");
    assert!(member(&fleet, &id, &tenants[0]).await["error"].as_str().unwrap().contains("already exists"));
    ask(&fleet, &id, "resume", &json!({})).await;
    let rollout = ended(&fleet, &id).await;
    assert_eq!((&rollout["state"], &rollout["counts"]["failed"]), (&json!("failed"), &json!(1)), "{rollout}");
    assert_eq!(member(&fleet, &id, &tenants[1]).await["state"], "done");
    let reason = json!({ "tenants": [tenants[0].id], "reason": "its owner mends it" });
    ask(&fleet, &id, "skip", &reason).await;
    assert_eq!(look(&fleet, &id).await["state"], "succeeded", "the only failure was left out");
    // The next test begins with all tenants at the newest versions.
    tenants[0].database(&fleet).run(&format!("DROP TABLE {table}")).await;
}
