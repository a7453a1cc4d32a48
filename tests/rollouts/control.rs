//! What an operator does with a rollout.

use serde_json::json;

use super::{
    PATIENCE, ROLLOUTS, ask, assert_nothing_is_left, ended, look, member, plain, publish, settle, settled, start,
};
use crate::harness::{answer::Answer, eventually_within, fleet::Fleet};

/// Waits until a tenant is done, and others are left.
async fn under_way(fleet: &Fleet, id: &str) {
    eventually_within("a tenant to be done", PATIENCE, async || {
        let rollout = look(fleet, id).await;
        (rollout["counts"]["done"].as_u64() > Some(0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rollout_is_paused_resumed_and_aborted() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 8).await;
    publish(&fleet, "SELECT pg_sleep(0.4)").await;
    let id = start(&fleet, &json!({ "waves": ["100%"], "concurrency": 1 })).await;
    fleet.operator().post(ROLLOUTS, &json!({})).await.problem(409, "rollout_in_progress");
    under_way(&fleet, &id).await;
    assert_eq!(ask(&fleet, &id, "pause", &json!({})).await["state"], "paused");
    ask(&fleet, &id, "pause", &json!({})).await;
    let paused = ended(&fleet, &id).await;
    let pending = paused["counts"]["pending"].as_u64().unwrap();
    assert!(pending > 0 && paused["reason"].as_str().unwrap().starts_with("requested: "), "{paused}");
    assert_nothing_is_left(&fleet).await;
    assert_eq!(look(&fleet, &id).await["counts"], paused["counts"], "nothing goes on");
    let waiting = fleet.patiently(&format!("{ROLLOUTS}/{id}/tenants?state=pending"), 0).await;
    let waiting = waiting["items"][0]["slug"].clone();
    ask(&fleet, &id, "skip", &json!({ "tenants": [waiting], "reason": "not today" })).await;
    let again = json!({ "tenants": [waiting], "reason": "not today" });
    let answer = fleet.operator().post(&format!("{ROLLOUTS}/{id}/skip"), &again).await;
    answer.wrong_field("tenants", "not_waiting");
    ask(&fleet, &id, "resume", &json!({})).await;
    let since = paused["counts"]["done"].as_u64();
    eventually_within("it to go on", PATIENCE, async || {
        (look(&fleet, &id).await["counts"]["done"].as_u64() > since).then_some(())
    })
    .await;
    assert_eq!(ask(&fleet, &id, "abort", &json!({})).await["state"], "aborted");
    let aborted = ended(&fleet, &id).await;
    assert!(aborted["counts"]["skipped"].as_u64() > Some(1) && aborted["counts"]["pending"] == 0, "{aborted}");
    for verb in ["pause", "resume", "retry"] {
        let answer = fleet.operator().post(&format!("{ROLLOUTS}/{id}/{verb}"), &json!({})).await;
        answer.problem(409, "rollout_finished");
    }
    assert_nothing_is_left(&fleet).await;
    settle(&fleet).await;
    for tenant in &tenants {
        let once = "SELECT count(*) FROM refinery_schema_history GROUP BY version ORDER BY 1 DESC LIMIT 1";
        assert_eq!(tenant.database(&fleet).value::<i64>(once).await, 1);
    }
}

#[tokio::test]
async fn what_is_asked_for_wrongly_starts_nothing() {
    let fleet = settled().await;
    let operator = fleet.operator();
    for (body, field, code) in [
        (json!({ "waves": ["5%"] }), "waves", "last_wave_not_all"),
        (json!({ "waves": ["half", "100%"] }), "waves[0]", "invalid_wave"),
        (json!({ "max_failures": "many" }), "max_failures", "invalid_max_failures"),
        (json!({ "canary": ["nobody-is-called-so"] }), "canary[0]", "unknown_tenant"),
        (json!({ "target_version": 1_000_000 }), "target_version", "unknown_version"),
        (json!({ "concurrency": 0 }), "concurrency", "invalid_range"),
    ] {
        for path in [ROLLOUTS.to_owned(), format!("{ROLLOUTS}/plan")] {
            operator.post(&path, &body).await.wrong_field(field, code);
        }
    }
    let listed = operator.get(&format!("{ROLLOUTS}?state=running")).await.expect(200);
    assert_eq!(listed["items"], json!([]));
}

#[tokio::test]
async fn a_request_that_is_repeated_gets_the_same_rollout() {
    let fleet = settled().await;
    let body = json!({ "waves": ["100%"] });
    let (first, second) = (
        fleet.operator().post_once(ROLLOUTS, "the-same-key", &body).await.expect(202),
        fleet.operator().post_once(ROLLOUTS, "the-same-key", &body).await.expect(202),
    );
    assert_eq!(first["id"], second["id"]);
}

#[tokio::test]
async fn a_rollout_is_followed_to_its_end() {
    let fleet = settled().await;
    let tenants = plain(&fleet, 2).await;
    publish(&fleet, "SELECT pg_sleep(0.2)").await;
    let id = start(&fleet, &json!({ "waves": ["100%"] })).await;
    let request = fleet.operator().request(reqwest::Method::GET, &format!("{ROLLOUTS}/{id}/events"));
    // The stream ends by itself.
    let told = Answer::to(request).await.text().to_owned();
    let last = told.lines().rfind(|line| line.starts_with("data: ")).unwrap();
    assert!(told.contains("event: rollout") && last.contains(r#""state":"succeeded""#), "{told}");
    assert_eq!(member(&fleet, &id, &tenants[0]).await["state"], "done");
}
