//! The key-encryption keys, and the data keys that they wrap.

use freehold::types::Clock;
use serde_json::{Value, json};

use crate::harness::{
    eventually,
    fleet::{self, Fleet},
    unique,
};

/// Has all data keys wrapped by the key `to`; how many were wrapped anew.
pub(super) async fn rotate(fleet: &Fleet, to: &str) -> u64 {
    let mut rewrapped = 0;
    loop {
        let done = fleet.operator().post("/platform/v1/keys/rotate", &json!({ "to": to })).await.expect(200);
        rewrapped += done["rewrapped"].as_u64().unwrap();
        if done["remaining"] == 0 {
            return rewrapped;
        }
    }
}

fn count_of(status: &Value, id: &str) -> u64 {
    let keys = status["keys"].as_array().unwrap();
    keys.iter().find(|key| key["id"] == id).unwrap()["data_keys"].as_u64().unwrap()
}

async fn status(fleet: &Fleet) -> Value {
    fleet.operator().get("/platform/v1/keys").await.expect(200)
}

#[tokio::test]
async fn data_keys_are_wrapped_anew_by_whoever_is_asked_and_open_as_before() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let before = status(&fleet).await;
    assert_eq!(before["active"], "k1");
    assert!(before["keys"].as_array().unwrap().iter().all(|key| key["configured"] == true), "{before}");
    assert!(
        !before.to_string().contains(fleet.setting("FREEHOLD_KEY_ENCRYPTION_KEYS").split([':', ',']).nth(1).unwrap())
    );
    let all = count_of(&before, "k0") + count_of(&before, "k1");

    // Two at once share the work.
    let (one, other) = tokio::join!(rotate(&fleet, "k0"), rotate(&fleet, "k0"));
    assert_eq!(one + other, count_of(&before, "k1"), "each data key is wrapped anew once");
    assert_eq!(count_of(&status(&fleet).await, "k0"), all);
    let only_k0 = fleet.setting("FREEHOLD_KEY_ENCRYPTION_KEYS").split(',').find(|key| key.starts_with("k0")).unwrap();
    let changes = [("FREEHOLD_KEY_ENCRYPTION_KEYS", only_k0), ("FREEHOLD_REPLICA", &*unique("only-k0"))];
    let replica = fleet.another_replica(&changes, Clock::default()).await;
    replica.member(&tenant.slug, tenant.admin.bearer()).get("/v1/projects").await.expect(200);

    // The replica that is left without k1 keeps everybody from using it again.
    eventually("the replica to say what it has", async || {
        let refused = fleet.operator().post("/platform/v1/keys/rotate", &json!({})).await;
        (refused.status() == 409).then(|| refused.problem(409, "key_not_everywhere"))
    })
    .await;
    drop(replica);
    eventually("the replica to be gone", async || {
        (status(&fleet).await["replicas"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    rotate(&fleet, "k1").await;
    assert_eq!(count_of(&status(&fleet).await, "k1"), all);
    tenant.login().await;
}

#[tokio::test]
async fn a_key_that_nobody_has_is_refused_and_one_that_is_lost_is_told() {
    let fleet = fleet::alone().await;
    fleet.operator().post("/platform/v1/keys/rotate", &json!({ "to": "k9" })).await.wrong_field("to", "unknown_key");
    let lost = "INSERT INTO data_keys (owner_id, kek_id, wrapped) VALUES (gen_random_uuid(), 'lost', '\\x00')";
    fleet.control().run(lost).await;
    let told = status(&fleet).await;
    let key = told["keys"].as_array().unwrap().iter().find(|key| key["id"] == "lost").unwrap().clone();
    assert_eq!(key, json!({ "id": "lost", "configured": false, "data_keys": 1 }));
    let done = fleet.operator().post("/platform/v1/keys/rotate", &json!({ "to": "k1" })).await.expect(200);
    assert_eq!(done["remaining"], 1, "what cannot be opened is left as it is");
    fleet.control().run("DELETE FROM data_keys WHERE kek_id = 'lost'").await;
}
