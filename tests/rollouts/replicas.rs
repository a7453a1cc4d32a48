//! Replicas share the work, and never have more tenants of a server under way than it allows.

use std::time::Duration;

use freehold::types::Clock;
use serde_json::json;

use super::{ended, look, plain, publish, settled, start};
use crate::harness::unique;

#[tokio::test]
async fn two_replicas_share_the_work_within_the_concurrency_of_the_server() {
    let fleet = settled().await;
    let other = unique("second");
    let _second = fleet.another_replica(&[("FREEHOLD_REPLICA", &other)], Clock::default()).await;
    plain(&fleet, 12).await;
    publish(&fleet, "SELECT pg_sleep(0.5)").await;
    let id = start(&fleet, &json!({ "waves": ["100%"], "concurrency": 2 })).await;
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'freehold_rollout_%' AND state = 'active'";
    let (server, mut most) = (fleet.on_server("postgres"), 0);
    while matches!(look(&fleet, &id).await["state"].as_str().unwrap(), "planned" | "running") {
        most = most.max(server.value::<i64>(sessions).await);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(ended(&fleet, &id).await["state"], "succeeded");
    assert!((1..=2).contains(&most), "{most} at a time");
    let owners = format!(
        "SELECT count(DISTINCT lease_owner) FROM rollout_tenants WHERE rollout_id = '{}' AND state = 'done'",
        id.replace("rol_", "")
    );
    assert_eq!(fleet.control().value::<i64>(&owners).await, 2, "both have worked");
}
