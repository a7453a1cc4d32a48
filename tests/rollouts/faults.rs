//! What is in the way of a rollout for a while: a server that is away, and a transaction that does not end.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, ask, ended, look, member, name, plain, publish, settled, start};
use crate::harness::{
    eventually_within, is_soak,
    programs::{start_postgres, stop_postgres},
};

#[tokio::test]
async fn a_rollout_waits_for_a_server_that_is_away_and_applies_nothing_twice() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 6).await;
    let counter = name("counter");
    let sql = format!(
        "CREATE TABLE {counter} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY); INSERT INTO {counter} DEFAULT VALUES;
         SELECT pg_sleep(0.5)"
    );
    let version = publish(&fleet, &sql).await;
    let id = start(&fleet, &json!({ "waves": ["100%"], "concurrency": 2 })).await;
    eventually_within("a tenant to be done", PATIENCE, async || {
        (look(&fleet, &id).await["counts"]["done"].as_u64() > Some(0)).then_some(())
    })
    .await;
    stop_postgres(&fleet.server_data());
    sleep(Duration::from_secs(3)).await;
    assert_eq!(look(&fleet, &id).await["counts"]["failed"], 0, "it waits");
    start_postgres(&fleet.server_data());
    let rollout = ended(&fleet, &id).await;
    assert_eq!((&rollout["state"], &rollout["counts"]["failed"]), (&json!("succeeded"), &json!(0)), "{rollout}");
    for tenant in &tenants {
        assert_eq!(tenant.seen(&fleet).await["schema_version"], version);
        assert_eq!(tenant.database(&fleet).value::<i64>(&format!("SELECT count(*) FROM {counter}")).await, 1);
    }
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_rollout_goes_around_a_long_transaction_and_its_tenants_reads_go_on() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 5).await;
    let database = tenants[0].database(&fleet);
    let [holder, reader] = [database.connect().await.unwrap(), database.connect().await.unwrap()];
    holder.batch_execute("BEGIN; SELECT count(*) FROM projects").await.unwrap();
    let version = publish(&fleet, &format!("ALTER TABLE projects ADD COLUMN {} text", name("later"))).await;
    let id = start(&fleet, &json!({ "waves": ["100%"] })).await;
    let held = if is_soak() { Duration::from_mins(10) } else { Duration::from_secs(8) };
    let (began, mut longest, mut others) = (Instant::now(), Duration::ZERO, false);
    while !others || began.elapsed() < held {
        let asked = Instant::now();
        reader.batch_execute("SELECT count(*) FROM projects").await.unwrap();
        longest = longest.max(asked.elapsed());
        sleep(Duration::from_millis(20)).await;
        let counts = look(&fleet, &id).await["counts"].clone();
        let behind = ["pending", "running", "failed"].map(|state| counts[state].as_u64().unwrap());
        others = behind.iter().sum::<u64>() == 1;
        assert!(began.elapsed() < held + PATIENCE, "{counts}");
    }
    assert!(longest > Duration::from_millis(100), "the file stood before nobody: {longest:?}");
    assert!(longest < Duration::from_secs(1), "a read waited for {longest:?}");
    for tenant in &tenants[1..] {
        assert_eq!(tenant.seen(&fleet).await["schema_version"], version);
    }
    assert_ne!(member(&fleet, &id, &tenants[0]).await["state"], "done");
    holder.batch_execute("COMMIT").await.unwrap();
    drop((holder, reader));
    if ended(&fleet, &id).await["state"] == "failed" {
        // All its tries were over before the transaction was.
        ask(&fleet, &id, "retry", &json!({ "only": "failed" })).await;
    }
    assert_eq!(ended(&fleet, &id).await["state"], "succeeded");
    assert_eq!(tenants[0].seen(&fleet).await["schema_version"], version);
}
