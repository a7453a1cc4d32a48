//! Passwords: changed, judged by the tenant's policy, changed because one has to, hashed anew.

use serde_json::json;

use super::{CHANGE, ME, SETTINGS, as_admin, holder, patiently, signed_in, tried};
use crate::harness::{PASSWORD, fleet};

const NEXT: &str = "eight blue kettles hum gently";
const OTHER: &str = "seven red kettles boil over";

#[tokio::test]
async fn whoever_changes_the_password_ends_all_other_sessions() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (tokens, member) = (tenant.login().await, tenant.member("member").await);
    let (admin, elsewhere) = (&tenant.admin, holder(fleet, &tenant, &tokens));
    for (current, new, field, code) in [
        ("not my password it is", NEXT, "current_password", "wrong_password"),
        (PASSWORD, PASSWORD, "new_password", "password_used_before"),
        (PASSWORD, "too short", "new_password", "password_too_short"),
        (PASSWORD, "PerAsperaAdAstra", "new_password", "password_too_common"),
    ] {
        let body = json!({ "current_password": current, "new_password": new });
        patiently(admin, CHANGE, &body).await.wrong_field(field, code);
    }
    elsewhere.get(ME).await.expect(200);
    patiently(admin, CHANGE, &json!({ "current_password": PASSWORD, "new_password": NEXT })).await.expect(204);
    elsewhere.get(ME).await.problem(401, "invalid_token");
    tenant.anonymous().refresh(&tokens["refresh_token"]).await.problem(401, "invalid_refresh_token");
    admin.get(ME).await.expect(200);
    member.get(ME).await.expect(200);
    tried(&tenant.anonymous(), &as_admin(&tenant)).await.problem(401, "invalid_credentials");
    signed_in(&tenant.anonymous(), &tenant.admin_email, NEXT).await;
    let events = "SELECT details ->> 'sessions' FROM freehold.audit_events WHERE action = 'password.changed'";
    assert_eq!(tenant.database().values::<String>(events).await, ["1"]);
}

#[tokio::test]
async fn a_password_is_of_the_tenants_kinds_and_none_of_the_last() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let change = async |current: &str, new: &str| {
        patiently(&tenant.admin, CHANGE, &json!({ "current_password": current, "new_password": new })).await
    };
    let policy = json!({ "password_classes": ["upper", "digit"], "password_history": 2, "password_min_length": 16 });
    tenant.admin.patch(SETTINGS, &policy).await.expect(200);
    change(PASSWORD, NEXT).await.wrong_field("new_password", "password_too_simple");
    change(PASSWORD, "Nine kettles 12").await.wrong_field("new_password", "password_too_short");
    let [one, two, three, four] = ["1", "2", "3", "4"].map(|number| format!("{number} Kettles hum gently at night"));
    change(PASSWORD, &one).await.expect(204);
    change(&one, &two).await.expect(204);
    change(&two, &three).await.expect(204);
    change(&three, &one).await.wrong_field("new_password", "password_used_before");
    change(&three, &four).await.expect(204);
    change(&four, &one).await.expect(204);
    let kept = "SELECT count(*) FROM freehold.credentials WHERE kind = 'former_password'";
    assert_eq!(tenant.database().value::<i64>(kept).await, 2);
    tenant.admin.patch(SETTINGS, &json!({ "password_history": 0 })).await.expect(200);
    change(&one, &two).await.expect(204);
    assert_eq!(tenant.database().value::<i64>(kept).await, 0, "forgotten as soon as nobody asks for them");
}

#[tokio::test]
async fn who_has_to_change_the_password_gets_in_with_another_one_only() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let anonymous = tenant.anonymous();
    let now = freehold::types::Clock::default().now();
    tenant.admin.patch(SETTINGS, &json!({ "passwords_valid_from": now })).await.expect(200);
    tried(&anonymous, &as_admin(&tenant)).await.problem(401, "password_change_required");
    let with =
        |password: &str, new: &str| json!({ "email": tenant.admin_email, "password": password, "new_password": new });
    tried(&anonymous, &with("not my password it is", NEXT)).await.problem(401, "invalid_credentials");
    tried(&anonymous, &with(PASSWORD, PASSWORD)).await.wrong_field("new_password", "password_used_before");
    tried(&anonymous, &with(PASSWORD, "short")).await.wrong_field("new_password", "password_too_short");
    tenant.admin.get(ME).await.expect(200);
    tried(&anonymous, &with(PASSWORD, NEXT)).await.expect(200);
    tenant.admin.get(ME).await.problem(401, "invalid_token");
    tried(&anonymous, &as_admin(&tenant)).await.problem(401, "invalid_credentials");
    let tokens = signed_in(&anonymous, &tenant.admin_email, NEXT).await;
    // One person, by name.
    tenant
        .database()
        .run("UPDATE freehold.credentials SET data = data || '{\"must_change\": true}' WHERE kind = 'password'")
        .await;
    tried(&anonymous, &json!({ "email": tenant.admin_email, "password": NEXT }))
        .await
        .problem(401, "password_change_required");
    let change = json!({ "current_password": NEXT, "new_password": OTHER });
    patiently(&holder(fleet, &tenant, &tokens), CHANGE, &change).await.expect(204);
    signed_in(&anonymous, &tenant.admin_email, OTHER).await;
}

#[tokio::test]
async fn a_hash_of_other_parameters_is_made_anew_at_the_next_sign_in() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let database = tenant.database();
    // "password" and "somesalt" of the reference implementation's own test vectors.
    let older = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc";
    let changed = "SELECT changed_at::text FROM freehold.credentials WHERE kind = 'password'";
    let before: String = database.value(changed).await;
    let set =
        format!("UPDATE freehold.credentials SET data = jsonb_build_object('hash', '{older}') WHERE kind = 'password'");
    database.run(&set).await;
    let wrong = json!({ "email": tenant.admin_email, "password": "passwore" });
    tried(&tenant.anonymous(), &wrong).await.problem(401, "invalid_credentials");
    let hash = "SELECT data ->> 'hash' FROM freehold.credentials WHERE kind = 'password'";
    assert_eq!(database.value::<String>(hash).await, older);
    for _ in 0..2 {
        signed_in(&tenant.anonymous(), &tenant.admin_email, "password").await;
        let hash: String = database.value(hash).await;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    }
    assert_eq!(database.value::<String>(changed).await, before, "the password is the same");
}
