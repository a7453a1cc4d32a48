//! Accounts: who says that an address is theirs, and what an invitation is worth.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{ACCEPT, INVITATIONS, ME, OTHER_PASSWORD, invited};
use crate::{
    harness::{PASSWORD, answer::Answer, fleet, unique},
    sign_ins::{patiently, tried},
};

/// The names of all fields that a body may have, those inside of others included.
fn fields(schema: &Value, schemas: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(name) = members.get("$ref").and_then(|text| text.as_str()?.rsplit('/').next()) {
                fields(&schemas[name], schemas, found);
            }
            if let Some(Value::Object(properties)) = members.get("properties") {
                found.extend(properties.keys().cloned());
            }
            members.values().for_each(|member| fields(member, schemas, found));
        }
        Value::Array(all) => all.iter().for_each(|one| fields(one, schemas, found)),
        _ => {}
    }
}

/// Zitadel CVE-2026-27946: people said themselves that their address was verified, by the route that changes them.
#[tokio::test]
async fn no_request_about_oneself_says_what_others_decide() {
    let tenant = fleet::shared().await.tenant().await;
    let member = tenant.member("member").await;
    let document = tenant.anonymous().get("/openapi.json").await.expect(200);
    let theirs = ["email_verified", "verified", "is_verified", "role", "active", "permissions", "kind", "deleted_at"];
    let (mut walked, mut wrong) = (0, Vec::new());
    let own = document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/v1/auth/"));
    for (path, item) in own {
        for method in ["post", "put", "patch", "delete"].into_iter().filter(|method| item.get(method).is_some()) {
            walked += 1;
            let mut found = BTreeSet::new();
            fields(&item[method]["requestBody"], &document["components"]["schemas"], &mut found);
            wrong.extend(theirs.iter().filter(|field| found.contains(**field)).map(|field| format!("{path}: {field}")));
            // What the document does not tell is not there either.
            let path = path.replace("{id}", "ses_01900000000070008000000000000000");
            for field in theirs.iter().filter(|_| !path.contains("logout")) {
                let request = member.request(method.to_uppercase().parse::<Method>().unwrap(), &path);
                let answer = Answer::to(request.json(&json!({ *field: true }))).await;
                if !answer.names(field, "unknown_field") {
                    wrong.push(format!("{path} takes {field}: {}", answer.text()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(walked > 10, "{walked}");
    let id = member.get(ME).await.member("id");
    member.patch(&format!("/v1/users/{id}"), &json!({ "role": "owner" })).await.problem(403, "forbidden");
}

/// Better Auth GHSA-qq9h-g4jm-xgf3: whoever knew somebody's address first kept a way into their account. Somebody whose
/// address nobody has seen to be theirs gets in nowhere with what was there before.
#[tokio::test]
async fn what_was_there_before_an_address_was_proved_opens_nothing() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let email = format!("{}@example.com", unique("victim"));
    let planted = bcrypt::hash_with_salt(OTHER_PASSWORD, 4, [3; 16]).unwrap().to_string();
    let line = json!({ "email": email, "password_hash": planted });
    let request = tenant.admin.request(Method::POST, "/v1/users/import").header("content-type", "application/x-ndjson");
    assert_eq!(Answer::to(request.body(line.to_string())).await.expect(200)["created"], 1);
    let own = json!({ "email": email, "password": OTHER_PASSWORD });
    let anonymous = tenant.anonymous();
    tried(&anonymous, &own).await.problem(401, "email_not_verified");
    let sessions = "SELECT count(*) FROM freehold.sessions s JOIN freehold.users u ON u.id = s.user_id WHERE u.email";
    assert_eq!(tenant.database().value::<i64>(&format!("{sessions} = '{email}'")).await, 0);
    // The invitation is the first proof: what was planted is gone.
    let token = invited(&tenant, &email).await;
    let body = json!({ "token": token, "password": PASSWORD });
    patiently(&anonymous, ACCEPT, &body).await.expect(204);
    tried(&anonymous, &own).await.problem(401, "invalid_credentials");
    tried(&anonymous, &json!({ "email": email, "password": PASSWORD })).await.expect(200);
}

/// blocks-os #352 and others: an invitation's link took accounts over, or made the wrong person a member.
#[tokio::test]
async fn an_invitation_opens_no_account_that_is_there() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (victim, thief) = (tenant.member("member").await, tenant.member("viewer").await);
    let email = victim.get(ME).await.member("email");
    let body = json!({ "email": email, "role": "admin" });
    let token = tenant.admin.post(INVITATIONS, &body).await.expect(201)["token"].clone();
    let (anonymous, join) = (tenant.anonymous(), "/v1/auth/invitations/join");
    let takeover = json!({ "token": token, "password": OTHER_PASSWORD });
    patiently(&anonymous, ACCEPT, &takeover).await.problem(409, "user_exists");
    tried(&anonymous, &json!({ "email": email, "password": OTHER_PASSWORD })).await.problem(401, "invalid_credentials");
    anonymous.post(join, &json!({ "token": token })).await.problem(401, "authentication_required");
    thief.post(join, &json!({ "token": token })).await.problem(403, "other_address");
    // Nobody becomes anything by being invited: not before they say so.
    assert_eq!(victim.get(ME).await.member("role"), "member");
    assert_eq!(victim.post(join, &json!({ "token": token })).await.expect(200)["role"], "admin");
    // An older invitation does not come back to life after a newer one.
    let guest = format!("{}@example.com", unique("guest"));
    let older = invited(&tenant, &guest).await;
    let listed = tenant.admin.get(&format!("{INVITATIONS}?email={guest}")).await.expect(200);
    let id = listed["items"][0]["id"].as_str().unwrap();
    let newer = tenant.admin.post(&format!("{INVITATIONS}/{id}/resend"), &json!({})).await.expect(200);
    let body = |token: &Value| json!({ "token": token, "password": OTHER_PASSWORD });
    patiently(&anonymous, ACCEPT, &body(&json!(older))).await.problem(422, "invalid_invitation");
    patiently(&anonymous, ACCEPT, &body(&newer["token"])).await.expect(204);
    patiently(&anonymous, ACCEPT, &body(&newer["token"])).await.problem(422, "invalid_invitation");
}

/// Discourse PR #41034: one address was another one at another route.
#[tokio::test]
async fn an_address_is_the_same_one_at_every_route() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (anonymous, name) = (tenant.anonymous(), unique("ada"));
    let email = format!("{name}.l+x@example.com");
    let spellings = [email.clone(), email.to_uppercase(), format!("{}.L+x@Example.COM", name.to_uppercase())];
    let token = invited(&tenant, &spellings[2]).await;
    patiently(&anonymous, ACCEPT, &json!({ "token": token, "password": OTHER_PASSWORD })).await.expect(204);
    for spelling in &spellings {
        let known = tried(&anonymous, &json!({ "email": spelling, "password": OTHER_PASSWORD })).await.expect(200);
        assert!(known["access_token"].is_string());
        let again = json!({ "email": spelling, "role": "member" });
        let token = tenant.admin.post(INVITATIONS, &again).await.expect(201);
        let body = json!({ "token": token["token"], "password": PASSWORD });
        patiently(&anonymous, ACCEPT, &body).await.problem(409, "user_exists");
        tenant.admin.delete(&format!("{INVITATIONS}/{}", token["id"].as_str().unwrap())).await.expect(204);
        let import =
            tenant.admin.request(Method::POST, "/v1/users/import").header("content-type", "application/x-ndjson");
        let line = json!({ "email": spelling }).to_string();
        assert_eq!(Answer::to(import.body(line)).await.expect(200)["existing"], 1, "{spelling}");
    }
    // Other people's: nothing is folded but case.
    for other in [format!("{name}l@example.com"), format!("{name}.l@example.com"), format!("{name}.l+x@example.org")] {
        tried(&anonymous, &json!({ "email": other, "password": OTHER_PASSWORD }))
            .await
            .problem(401, "invalid_credentials");
    }
    let count = format!("SELECT count(*) FROM freehold.users WHERE email LIKE '{name}%'");
    assert_eq!(tenant.database().value::<i64>(&count).await, 1);
}
