//! Tenants of the first release are rolled out: their people stay signed in and have what is new afterwards.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{ROLLOUTS, ended, settled, start};
use crate::harness::{PASSWORD, earlier, eventually, fleet::Fleet, tenant::Tenant};

/// How many tenants the fleet had.
const TENANTS: usize = 20;

/// So many tenants whose databases, and what Freehold knows of them, are those of the first release.
async fn of_the_first_release(fleet: &Fleet) -> Vec<Tenant<'_>> {
    let mut tenants = Vec::with_capacity(TENANTS);
    while tenants.len() < TENANTS {
        tenants.extend(join_all((0..2).map(|_| fleet.tenant())).await);
    }
    let ids: Vec<_> = tenants.iter().map(|tenant| format!("'{}'", tenant.id.replace("ten_", ""))).collect();
    let set = format!("UPDATE tenants SET freehold_version = 1 WHERE id IN ({})", ids.join(", "));
    fleet.control().run(&set).await;
    for tenant in &tenants {
        eventually("the replica to know", async || (tenant.admin.get("/v1/users").await.status() == 503).then_some(()))
            .await;
        tenant.database().run(&earlier::back_to(1)).await;
    }
    tenants
}

/// Whether people of the tenant have what this release has: each answer is one that a new tenant gives.
async fn has_all(fleet: &Fleet, tenant: &Tenant<'_>) {
    tenant.admin.get("/v1/users").await.expect(200);
    tenant.admin.get("/v1/audit-events/chain").await.expect(200);
    let proof = json!({ "password": PASSWORD });
    tenant.admin.post("/v1/auth/step-up", &proof).await.expect(204);
    tenant.admin.post("/v1/auth/mfa/totp/setup", &json!({})).await.expect(200);
    let role = json!({ "name": "reader", "permissions": ["projects:read"] });
    tenant.admin.post("/v1/roles", &role).await.expect(201);
    let invited = json!({ "email": format!("new@{}.example.com", tenant.slug), "role": "reader" });
    let token = tenant.admin.post("/v1/invitations", &invited).await.expect(201)["token"].clone();
    let accepted = json!({ "token": token, "password": PASSWORD });
    tenant.anonymous().post("/v1/auth/invitations/accept", &accepted).await.expect(204);
    let seen = fleet.patiently(&format!("/platform/v1/tenants/{}", tenant.id), 0).await;
    assert!(seen["freehold_version"].as_i64().unwrap() > 1, "{seen}");
}

#[tokio::test]
async fn twenty_tenants_of_the_first_release_are_rolled_out_while_their_people_stay_signed_in() {
    let fleet = settled().await;
    let tenants = of_the_first_release(&fleet).await;
    let mut kept: Vec<Value> = Vec::with_capacity(TENANTS);
    for tenant in &tenants {
        kept.push(tenant.login().await);
    }
    let id = start(&fleet, &json!({ "canary": [tenants[0].slug], "waves": ["25%", "100%"] })).await;
    let rollout = ended(&fleet, &id).await;
    let failed = fleet.patiently(&format!("{ROLLOUTS}/{id}/tenants?state=failed"), 0).await;
    assert_eq!(rollout["state"], "succeeded", "{rollout}: {failed}");
    for (tenant, tokens) in tenants.iter().zip(&kept) {
        let next = tenant.anonymous().refresh(&tokens["refresh_token"]).await.expect(200);
        fleet
            .replica
            .member(&tenant.slug, &next["access_token"].as_str().unwrap().into())
            .get("/v1/projects")
            .await
            .expect(200);
        has_all(&fleet, tenant).await;
    }
    fleet.assert_clean().await;
}
