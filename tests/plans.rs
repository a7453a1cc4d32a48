//! Plans: every replica keeps them beside its tenants, and a change reaches each within a second.

use std::{sync::Arc, time::Duration};

use freehold::{
    control::plans::{Limits, Plan, Quotas},
    tenancy::Tenancy,
    types::{Clock, TenantId},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::harness::{
    fleet::{self, Fleet, RUNTIME},
    replica::Replica,
    unique,
};

/// What the replica's registry holds for this tenant.
async fn seen(replica: &Replica, tenant: TenantId) -> Arc<Plan> {
    let tenancy: Tenancy = replica.app().operations().tenancy.clone();
    let looking = async move { tenancy.plan(&tenancy.by_id(tenant).await.unwrap().unwrap()).unwrap() };
    RUNTIME.spawn(looking).await.unwrap()
}

/// Waits until `replica` sees `expected` of the tenant's plan; fails when that takes a second or more.
async fn reaches(replica: &Replica, tenant: TenantId, what: &str, expected: impl Fn(&Plan) -> bool) {
    let since = Instant::now();
    while !expected(&*seen(replica, tenant).await) {
        assert!(since.elapsed() < Duration::from_secs(1), "{what}: {:?}", seen(replica, tenant).await);
        sleep(Duration::from_millis(10)).await;
    }
}

/// Writes the limit of a minute, as anything that changes a plan does.
async fn limit(fleet: &Fleet, plan: &str, minute: u64) {
    let limits = json!({ "requests_per_minute": minute, "burst": null });
    fleet.control().run(&format!("UPDATE plans SET limits = '{limits}' WHERE name = '{plan}'")).await;
}

#[tokio::test]
async fn a_changed_plan_reaches_every_replica_within_a_second() {
    // Alone, since its listeners are cut off.
    let fleet = fleet::alone().await;
    let elsewhere = fleet.another_replica(&[], Clock::default()).await;
    let tenant = fleet.tenant().await;
    let (id, plan): (TenantId, _) = (tenant.id.parse().unwrap(), unique("plan"));
    assert_eq!(seen(&elsewhere, id).await.name, "default");
    let features = "ARRAY['sso', NULL]";
    let insert =
        format!("INSERT INTO plans (name, quotas, features) VALUES ('{plan}', '{{\"users\": 3}}', {features})");
    fleet.control().run(&insert).await;
    let path = format!("/platform/v1/tenants/{}", tenant.id);
    fleet.operator().patch(&path, &json!({ "plan": plan })).await.expect(200);
    for replica in [&fleet.replica, &elsewhere] {
        reaches(replica, id, "another plan", |seen| seen.name == plan).await;
        let seen = seen(replica, id).await;
        assert_eq!((seen.limits, &seen.features[..]), (Limits::default(), &["sso".to_owned()][..]));
        assert_eq!(seen.quotas, Quotas { users: Some(3), ..Quotas::default() });
    }
    for minute in [7, 0, 700] {
        limit(&fleet, &plan, minute).await;
        for replica in [&fleet.replica, &elsewhere] {
            reaches(replica, id, "a change", |seen| seen.limits.requests_per_minute == Some(minute)).await;
        }
    }
    // Whoever listened is cut off, and what is changed meanwhile is told to nobody.
    let cut =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN %freehold_plans%'";
    assert!(fleet.control().value::<i64>(cut).await >= 2, "nobody listened");
    limit(&fleet, &plan, 70).await;
    for replica in [&fleet.replica, &elsewhere] {
        reaches(replica, id, "a lost listener", |seen| seen.limits.requests_per_minute == Some(70)).await;
    }
}

#[tokio::test]
async fn a_plan_that_nobody_could_keep_is_refused_by_the_control_database() {
    let fleet = fleet::shared().await;
    let control = fleet.control().connect().await.unwrap();
    for (column, value) in [
        ("limits", r#"{"request_per_minute": 5}"#),
        ("limits", r#"{"burst": -1}"#),
        ("limits", r#"{"burst": 1.5}"#),
        ("limits", r#"{"burst": "5"}"#),
        ("limits", r#"{"burst": 1000000000000000}"#),
        ("limits", "[]"),
        ("limits", "7"),
        ("quotas", r#"{"burst": 5}"#),
        ("quotas", "null"),
    ] {
        let insert = format!("INSERT INTO plans (name, {column}) VALUES ('{}', '{value}')", unique("plan"));
        let refused = control.batch_execute(&insert).await.unwrap_err();
        let constraint = refused.as_db_error().unwrap().constraint();
        assert_eq!(constraint, Some(&*format!("plans_{column}_check")), "{value}");
    }
    let listed = fleet.patiently("/platform/v1/plans", 0).await;
    let named = |name: &str| listed["items"].as_array().unwrap().iter().find(|plan| plan["name"] == name).unwrap();
    let limits =
        json!({ "requests_per_minute": 600, "requests_per_hour": 20_000, "requests_per_day": 200_000, "burst": 100 });
    assert_eq!(named("default")["limits"], limits);
    assert_eq!(named("bench"), &json!({ "name": "bench", "limits": {}, "quotas": {}, "features": [] }));
}
