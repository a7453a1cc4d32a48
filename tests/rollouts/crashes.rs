//! Replicas that kill themselves at every point of a rollout: the next one goes on, and every tenant is migrated once.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt, time::Duration};

use freehold::faults;
use rustix::process::Signal;
use serde_json::json;

use super::{assert_nothing_is_left, ended, member, name, plain, publish, publish_with_undo, start, undo::undo};
use crate::{
    crash_points::engine,
    harness::{
        actors::Caller,
        eventually_within,
        fleet::{self, Fleet},
        programs::{Program, free_addresses},
        unique,
    },
};

/// How long a program may take to reach its point.
const REACHED: Duration = Duration::from_mins(1);
/// The points that replicas pass which work on a rollout, in this order. A wave begins before a tenant of it is migrated.
const POINTS: [&str; 8] = [
    "rollout.wave.before_commit",
    "rollout.wave.after_commit",
    "rollout.migrate.before_effect",
    "rollout.migrate.after_effect",
    "rollout.record.before",
    "rollout.record.after",
    "rollout.end.before_commit",
    "rollout.end.after_commit",
];
/// Those of the request that starts one.
const REQUEST: [&str; 2] = ["rollout.start.before_commit", "rollout.start.after_commit"];

#[test]
fn every_point_of_a_rollout_is_gone_through() {
    let known: BTreeSet<_> = faults::points().into_iter().filter(|point| point.starts_with("rollout.")).collect();
    assert_eq!(known, POINTS.into_iter().chain(REQUEST).collect());
}

/// A replica that works on rollouts, with a point armed if there is one, under this name.
fn mortal(fleet: &Fleet, replica: &str, armed: &str) -> (Program, std::net::SocketAddr) {
    let (public, admin) = free_addresses();
    let mut changes = vec![
        ("FREEHOLD_PUBLIC_LISTEN", &*public),
        ("FREEHOLD_ADMIN_LISTEN", &*admin),
        ("FREEHOLD_REPLICA", replica),
        ("FREEHOLD_OPERATION_CONCURRENCY", "1"),
    ];
    if !armed.is_empty() {
        changes.push(("CRASH_POINTS", armed));
    }
    let log = unique(replica);
    (Program::start(fleet.folder(), &log, &["serve"], &fleet.settings_with(&changes)), admin.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_kills_itself_at_any_point_is_followed_by_one_that_goes_on() {
    let fleet = fleet::idle().await;
    let worker = engine(&fleet).await;
    let settled = start(&fleet, &json!({ "waves": ["100%"] })).await;
    assert_eq!(ended(&fleet, &settled).await["state"], "succeeded");
    let tenants = plain(&fleet, 6).await;
    worker.stop().await;
    let counter = name("counter");
    let sql = format!(
        "CREATE TABLE {counter} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY); INSERT INTO {counter} DEFAULT VALUES"
    );
    let version = publish_with_undo(&fleet, &sql, &format!("DROP TABLE {counter}")).await;
    let id = start(&fleet, &json!({ "canary": [tenants[0].slug], "waves": ["100%"] })).await;
    kill_at_every_point(&fleet, &id).await;
    for tenant in &tenants {
        let database = tenant.database(&fleet);
        assert_eq!(database.value::<i64>(&format!("SELECT count(*) FROM {counter}")).await, 1, "applied once");
        assert_eq!(tenant.seen(&fleet).await["schema_version"], version);
        assert_eq!(member(&fleet, &id, tenant).await["state"], "done");
    }
    // The way back is a rollout like any other. Undone twice, a tenant would fail: the table is gone.
    let back = undo(&fleet, &id, &json!({ "canary": [tenants[0].slug], "waves": ["100%"] })).await;
    kill_at_every_point(&fleet, &back).await;
    for tenant in &tenants {
        assert_eq!(tenant.seen(&fleet).await["schema_version"], version - 1);
        assert_eq!(member(&fleet, &back, tenant).await["state"], "done");
    }
    // What the last one left on the server goes with the next crew, or with the janitor.
    let worker = engine(&fleet).await;
    publish(&fleet, "SELECT 1").await;
    let next = start(&fleet, &json!({ "waves": ["100%"] })).await;
    assert_eq!(ended(&fleet, &next).await["state"], "succeeded");
    assert_nothing_is_left(&fleet).await;
    worker.stop().await;
    fleet.assert_clean().await;
}

/// Has one replica after another take up the rollout, each of which kills itself at the next point. The rollout succeeds.
async fn kill_at_every_point(fleet: &Fleet, id: &str) {
    let replica = unique("mortal");
    for point in POINTS {
        let (mut program, _) = mortal(fleet, &replica, &format!("{point}=abort"));
        assert_eq!(program.ended(REACHED).await.signal(), Some(9), "{point}");
    }
    let rollout = ended(fleet, id).await;
    assert_eq!((&rollout["state"], &rollout["counts"]["failed"]), (&json!("succeeded"), &json!(0)), "{rollout}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_held_is_taken_up_by_another_one() {
    let fleet = fleet::idle().await;
    let worker = engine(&fleet).await;
    let settled = start(&fleet, &json!({ "waves": ["100%"] })).await;
    assert_eq!(ended(&fleet, &settled).await["state"], "succeeded");
    let tenants = plain(&fleet, 4).await;
    worker.stop().await;
    let counter = name("counter");
    let sql = format!(
        "CREATE TABLE {counter} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY); INSERT INTO {counter} DEFAULT VALUES"
    );
    publish(&fleet, &sql).await;
    let id = start(&fleet, &json!({ "waves": ["100%"] })).await;
    let (mut program, _) = mortal(&fleet, &unique("mortal"), "rollout.migrate.after_effect=abort");
    assert_eq!(program.ended(REACHED).await.signal(), Some(9));
    // Under another name: the leases have to run out.
    let worker = engine(&fleet).await;
    assert_eq!(ended(&fleet, &id).await["state"], "succeeded");
    for tenant in &tenants {
        let count = format!("SELECT count(*) FROM {counter}");
        assert_eq!(tenant.database(&fleet).value::<i64>(&count).await, 1, "applied once");
    }
    assert_nothing_is_left(&fleet).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_cut_off_is_wholly_there_or_not_at_all() {
    let fleet = fleet::idle().await;
    let worker = engine(&fleet).await;
    for point in REQUEST {
        publish(&fleet, "SELECT 1").await;
        let count = "SELECT count(*) FROM rollouts";
        let before: i64 = fleet.control().value(count).await;
        let (mut program, address) = mortal(&fleet, &unique("mortal"), &format!("{point}=abort"));
        let caller = Caller::new(address, address.to_string()).with(fleet.operator().bearer());
        eventually_within("the replica is ready", REACHED, async || {
            let answer = caller.request(reqwest::Method::GET, "/health/ready").send().await;
            answer.ok().filter(|answer| answer.status() == 200)
        })
        .await;
        let request = caller.request(reqwest::Method::POST, "/platform/v1/rollouts").json(&json!({}));
        assert!(request.send().await.is_err(), "{point}: nobody answers");
        assert_eq!(program.ended(REACHED).await.signal(), Some(9), "{point}");
        let made = fleet.control().value::<i64>(count).await - before;
        assert_eq!(made > 0, point.ends_with("after_commit"), "{point}");
        let newest = "SELECT 'rol_' || replace(id::text, '-', '') FROM rollouts ORDER BY created_at DESC LIMIT 1";
        let id = if made > 0 { fleet.control().value(newest).await } else { start(&fleet, &json!({})).await };
        assert_eq!(ended(&fleet, &id).await["state"], "succeeded");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_stopped_loses_its_tenants_and_changes_nothing_when_it_goes_on() {
    let fleet = fleet::idle().await;
    let worker = engine(&fleet).await;
    let settled = start(&fleet, &json!({ "waves": ["100%"] })).await;
    assert_eq!(ended(&fleet, &settled).await["state"], "succeeded");
    let tenants = plain(&fleet, 3).await;
    worker.stop().await;
    let counter = name("counter");
    // Slow at these alone: earlier tests have left many here.
    let slow: Vec<_> = tenants.iter().map(|tenant| format!("'{}'", tenant.id.replace("ten_", "tenant_"))).collect();
    let sql = format!(
        "CREATE TABLE {counter} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY); INSERT INTO {counter} DEFAULT VALUES;
         SELECT CASE WHEN current_database() IN ({}) THEN pg_sleep(1) END",
        slow.join(", ")
    );
    let version = publish(&fleet, &sql).await;
    // With one place, which the stopped replica holds.
    let id = start(&fleet, &json!({ "waves": ["100%"], "concurrency": 1 })).await;
    let (mut stopped, _) = mortal(&fleet, &unique("stopped"), "");
    let busy =
        "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'freehold_rollout_%' AND wait_event = 'PgSleep'";
    let server = fleet.on_server("postgres");
    eventually_within("it is at work", REACHED, async || (server.value::<i64>(busy).await > 0).then_some(())).await;
    stopped.signal(Signal::STOP);
    let worker = engine(&fleet).await;
    let rollout = ended(&fleet, &id).await;
    assert_eq!((&rollout["state"], &rollout["counts"]["failed"]), (&json!("succeeded"), &json!(0)), "{rollout}");
    let rows = format!(
        "SELECT string_agg(tenant_id || state || generation || lease_owner, ' ' ORDER BY tenant_id) FROM rollout_tenants
          WHERE rollout_id = '{}'",
        id.replace("rol_", "")
    );
    let before: String = fleet.control().value(&rows).await;
    stopped.signal(Signal::CONT);
    // It finds out by itself, and leaves what is not its own any more.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fleet.control().value::<String>(&rows).await, before, "it is fenced");
    for tenant in &tenants {
        assert_eq!(tenant.seen(&fleet).await["schema_version"], version);
        let count = format!("SELECT count(*) FROM {counter}");
        assert_eq!(tenant.database(&fleet).value::<i64>(&count).await, 1, "applied once");
    }
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.ended(REACHED).await.code(), Some(0), "it has lived on");
    assert_nothing_is_left(&fleet).await;
    worker.stop().await;
}
