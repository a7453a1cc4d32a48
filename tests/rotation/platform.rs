//! The platform tenant's own secrets.

use serde_json::json;

use super::ask_as;
use crate::harness::fleet;

#[tokio::test]
async fn the_platforms_secrets_are_replaced_by_those_who_hold_the_keys() {
    let fleet = fleet::alone().await;
    let [member, admin] = [fleet.operator_with_role("member").await, fleet.operator_with_role("admin").await];
    let tenant = fleet.tenant().await;
    let me = member.get("/v1/auth/me").await.expect(200);
    let platform = me["tenant"]["id"].as_str().unwrap();
    for action in ["rotate-credentials", "rotate-signing-keys"] {
        ask_as(&member, platform, action).await.problem(403, "forbidden");
        ask_as(&member, &tenant.id, action).await.expect(200);
    }
    ask_as(&admin, platform, "rotate-signing-keys").await.expect(200);
    let rotated = ask_as(&admin, platform, "rotate-credentials").await;
    rotated.expect(200);
    // Asked whether they may before whether anything is left to be called off.
    let cancel = format!("{}/cancel", rotated.header("location"));
    member.post(&cancel, &json!({})).await.problem(403, "forbidden");
    admin.post(&cancel, &json!({})).await.problem(409, "operation_finished");
    let retry = format!("{}/retry", rotated.header("location"));
    member.post(&retry, &json!({})).await.problem(403, "forbidden");
    admin.post(&retry, &json!({})).await.problem(409, "operation_not_blocked");
    member.get("/v1/auth/me").await.expect(200);
}
