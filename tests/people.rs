//! Those who look after a tenant's people: lists, changes, roles, and who may give what to whom.

use std::time::{Duration, Instant};

use freehold::types::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    PASSWORD,
    actors::Caller,
    answer::Answer,
    earlier, eventually,
    fleet::{self, Fleet},
    tenant::Tenant,
    unique,
};

const ME: &str = "/v1/auth/me";
const USERS: &str = "/v1/users";

/// `usr_…` of a caller.
pub(crate) async fn id_of(caller: &Caller) -> String {
    caller.get(ME).await.expect(200)["id"].as_str().unwrap().to_owned()
}

fn user(id: &str) -> String {
    format!("{USERS}/{id}")
}

async fn patch(caller: &Caller, id: &str, body: Value) -> Answer {
    caller.patch(&user(id), &body).await
}

/// Waits until the caller is refused at both replicas, which must take no longer than a second.
pub(crate) async fn refused_within_a_second(caller: &Caller, there: &Caller, since: Instant) {
    for caller in [caller, there] {
        eventually("the refusal", async || (caller.get(ME).await.status() == 401).then_some(())).await;
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    }
}

#[tokio::test]
async fn people_are_listed_searched_filtered_sorted_and_counted() {
    let tenant = fleet::shared().await.tenant().await;
    for role in ["viewer", "member", "member"] {
        tenant.member(role).await;
    }
    let admin = &tenant.admin;
    let names = async |query: &str| -> Vec<String> {
        let page = admin.get(&format!("{USERS}?{query}")).await.expect(200);
        page["items"].as_array().unwrap().iter().map(|one| one["email"].as_str().unwrap().to_owned()).collect()
    };
    let all = names("sort=email").await;
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted());
    assert_eq!(names("sort=-email").await, all.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(names("role=member").await.len(), 2);
    assert_eq!(names(&format!("q={}", &all[1][..all[1].len() - 3])).await, [all[1].clone()]);
    assert_eq!(names("q=%25").await, Vec::<String>::new());
    assert_eq!(names("state=inactive").await, Vec::<String>::new());
    assert_eq!(names("kind=service").await, Vec::<String>::new());
    let total = admin.get(&format!("{USERS}?limit=1&include=total")).await.expect(200);
    assert_eq!((total["items"].as_array().unwrap().len(), &total["total"]), (1, &json!(4)));
    // Every order leads through all of them, one at a time.
    for sort in ["created_at", "-created_at", "name", "-name", "email", "-email"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = admin.get(&format!("{USERS}?limit=1&sort={sort}{cursor}")).await.expect(200);
            seen.push(page["items"][0]["email"].as_str().unwrap().to_owned());
            let Some(next) = page["next_cursor"].as_str() else { break };
            let other = if sort == "name" { "email" } else { "name" };
            let wrong = admin.get(&format!("{USERS}?sort={other}&cursor={next}")).await;
            wrong.wrong_field("cursor", "invalid_cursor");
            cursor = format!("&cursor={next}");
        }
        seen.sort();
        assert_eq!(seen, all, "{sort}");
    }
    let stats = admin.get("/v1/users/stats").await.expect(200);
    assert_eq!((&stats["people"], &stats["active"], &stats["verified"]), (&json!(4), &json!(4), &json!(4)));
    assert_eq!(stats["active_by_role"], json!({ "member": 2, "owner": 1, "viewer": 1 }));
}

#[tokio::test]
async fn a_change_needs_the_version_that_was_read_and_says_what_it_changed() {
    let tenant = fleet::shared().await.tenant().await;
    let member = tenant.member("member").await;
    let id = id_of(&member).await;
    let read = tenant.admin.get(&user(&id)).await;
    read.expect(200);
    let change = async |tag: &str, body: Value| {
        let request = tenant.admin.request(Method::PATCH, &user(&id)).header("if-match", tag);
        Answer::to(request.json(&body)).await
    };
    let changed = change(read.header("etag"), json!({ "name": "Grace", "role": "viewer" })).await;
    assert_eq!(changed.expect(200)["role"], "viewer");
    change(read.header("etag"), json!({ "name": "Ada" })).await.problem(412, "precondition_failed");
    assert_eq!(member.get(ME).await.expect(200)["name"], "Grace");
    // What nobody may set, neither of others nor of themselves: no request has a field for it.
    for field in ["email_verified", "email", "id", "version", "deleted_at", "permissions"] {
        patch(&tenant.admin, &id, json!({ field: true })).await.wrong_field(field, "unknown_field");
    }
    patch(&tenant.admin, &id, json!({ "role": "nobody" })).await.wrong_field("role", "unknown_role");
    patch(&tenant.admin, &id, json!({ "role": null })).await.wrong_field("role", "invalid_type");
    member.get(&user(&id)).await.problem(403, "forbidden");
    patch(&member, &id, json!({ "role": "owner" })).await.problem(403, "forbidden");
    let events = tenant.admin.get(&format!("/v1/audit-events?target={id}")).await.expect(200);
    let mut told: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| &event["action"]).collect();
    // Both were written at the same moment.
    told.sort_by_key(std::string::ToString::to_string);
    assert_eq!(told, ["user.role_changed", "user.updated"]);
    let role = tenant.admin.get(&format!("/v1/audit-events?target={id}&action=user.role_changed")).await.expect(200);
    assert_eq!(role["items"][0]["details"], json!({ "from": "member", "to": "viewer" }));
}

#[tokio::test]
async fn nobody_gives_more_than_they_hold_or_changes_those_who_hold_more() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let (admin, member) = (tenant.member("admin").await, tenant.member("member").await);
    let (owner, own, other) = (id_of(&tenant.admin).await, id_of(&admin).await, id_of(&member).await);
    for body in [json!({ "role": "member" }), json!({ "active": false }), json!({ "name": "x" })] {
        patch(&admin, &owner, body).await.problem(403, "exceeds_own_rights");
    }
    for id in [&own, &other] {
        patch(&admin, id, json!({ "role": "owner" })).await.problem(403, "exceeds_own_rights");
    }
    admin.delete(&user(&owner)).await.problem(403, "exceeds_own_rights");
    admin.post(&format!("{}/revoke-sessions", user(&owner)), &json!({})).await.problem(403, "exceeds_own_rights");
    patch(&admin, &other, json!({ "role": "admin" })).await.expect(200);
    patch(&admin, &other, json!({ "role": "member" })).await.expect(200);

    // Somebody with a custom role gives what that role grants, and no more.
    let role = json!({ "name": "desk", "permissions": ["users:read", "users:write", "projects:read", "roles:write"] });
    tenant.admin.post("/v1/roles", &role).await.expect(201);
    let desk = tenant.member("desk").await;
    patch(&desk, &other, json!({ "role": "desk" })).await.problem(403, "exceeds_own_rights");
    let more = json!({ "name": "more", "permissions": ["projects:read", "users:delete"] });
    desk.post("/v1/roles", &more).await.problem(403, "exceeds_own_rights");
    let less = json!({ "name": "less", "permissions": ["projects:read"] });
    desk.post("/v1/roles", &less).await.expect(201);
    let widened = json!({ "permissions": ["projects:read", "projects:write"] });
    desk.patch("/v1/roles/less", &widened).await.problem(403, "exceeds_own_rights");
    let viewer = id_of(&*tenant.member("less").await).await;
    patch(&desk, &viewer, json!({ "role": "desk" })).await.expect(200);
    patch(&desk, &viewer, json!({ "role": "admin" })).await.problem(403, "exceeds_own_rights");
}

/// How many active owners there are.
async fn owners(tenant: &Tenant<'_>) -> i64 {
    tenant.database().value("SELECT count(*) FROM freehold.users WHERE role = 'owner' AND active").await
}

#[tokio::test]
async fn there_is_always_an_owner_whoever_is_faster() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let owner = id_of(&tenant.admin).await;
    for body in [json!({ "role": "member" }), json!({ "active": false })] {
        patch(&tenant.admin, &owner, body).await.problem(409, "last_owner");
    }
    tenant.admin.delete(&user(&owner)).await.problem(409, "last_owner");
    // An inactive owner is none.
    let idle = tenant.member("owner").await;
    let idle_id = id_of(&idle).await;
    patch(&tenant.admin, &idle_id, json!({ "active": false })).await.expect(200);
    patch(&tenant.admin, &owner, json!({ "role": "admin" })).await.problem(409, "last_owner");
    patch(&tenant.admin, &idle_id, json!({ "active": true })).await.expect(200);
    for round in 0..10 {
        let (first, second) = (tenant.member("owner").await, tenant.member("owner").await);
        let (one, two) = (id_of(&first).await, id_of(&second).await);
        let remove = "UPDATE freehold.users SET role = 'member' WHERE role = 'owner' AND id::text NOT IN";
        let kept = [&one, &two].map(|id| format!("'{}'", as_uuid(id))).join(", ");
        tenant.database().run(&format!("{remove} ({kept})")).await;
        let there = second.through(&other.anonymous(&tenant.slug));
        let body = if round % 2 == 0 { json!({ "role": "member" }) } else { json!({ "active": false }) };
        let (a, b) = tokio::join!(patch(&first, &two, body.clone()), patch(&there, &one, body));
        assert!(a.is_success() || b.is_success(), "{a:?} {b:?}");
        assert_eq!(owners(&tenant).await, 1, "round {round}: {a:?} {b:?}");
    }
}

fn as_uuid(id: &str) -> String {
    let hex = id.trim_start_matches("usr_");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

#[tokio::test]
async fn whoever_is_deactivated_has_nothing_left_on_any_replica() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let admin = tenant.member("admin").await;
    let id = id_of(&admin).await;
    let made = admin.post("/v1/api-keys", &json!({ "name": "ci", "scopes": ["projects:read"] })).await.expect(201);
    let key = fleet.replica.member(&tenant.slug, &made["key"].as_str().unwrap().into());
    let guest = json!({ "email": "guest@example.com", "role": "member" });
    let invitation = admin.post("/v1/invitations", &guest).await.expect(201);
    let there = |caller: &Caller| caller.through(&other.anonymous(&tenant.slug));
    for caller in [&*admin, &there(&admin), &*key, &there(&key)] {
        caller.get("/v1/projects").await.expect(200);
    }
    let step = "INSERT INTO freehold.sign_in_steps (token_hash, user_id, purpose, expires_at)
        SELECT sha256(id::text::bytea), id, 'code', now() + interval '10 minutes' FROM freehold.users";
    tenant.database().run(step).await;
    patch(&tenant.admin, &id, json!({ "active": false })).await.expect(200);
    let since = Instant::now();
    for caller in [&*admin, &*key] {
        caller.get(ME).await.problem(401, "invalid_token");
        refused_within_a_second(caller, &there(caller), since).await;
    }
    let steps = "SELECT user_id::text FROM freehold.sign_in_steps";
    let kept = tenant.database().values::<String>(steps).await;
    assert_eq!(kept, [as_uuid(&id_of(&tenant.admin).await)], "a sign-in that is under way ends, and no other one");
    let accepted = json!({ "token": invitation["token"], "password": PASSWORD });
    let accept = async || tenant.anonymous().post("/v1/auth/invitations/accept", &accepted).await;
    accept().await.problem(422, "invalid_invitation");
    let email = tenant.admin.get(&user(&id)).await.expect(200)["email"].as_str().unwrap().to_owned();
    tenant.anonymous().login(&email, PASSWORD).await.problem(401, "invalid_credentials");
    patch(&tenant.admin, &id, json!({ "active": true })).await.expect(200);
    // Nothing of it comes back.
    for caller in [&*admin, &*key] {
        caller.get(ME).await.problem(401, "invalid_token");
    }
    accept().await.problem(422, "invalid_invitation");
    tenant.anonymous().login(&email, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_demotion_and_the_end_of_sessions_reach_every_replica_within_a_second() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let other = fleet.another_replica(&[], Clock::default()).await;
    let member = tenant.member("member").await;
    let there = member.through(&other.anonymous(&tenant.slug));
    let id = id_of(&member).await;
    there.get(ME).await.expect(200);
    let write = async |caller: &Caller| caller.post("/v1/projects", &json!({ "name": "x" })).await.status();
    assert_eq!((write(&member).await, write(&there).await), (201, 201));
    patch(&tenant.admin, &id, json!({ "role": "viewer" })).await.expect(200);
    let since = Instant::now();
    assert_eq!(write(&member).await, 403);
    eventually("the other replica to hear", async || (write(&there).await == 403).then_some(())).await;
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    let ended = tenant.admin.post(&format!("{}/revoke-sessions", user(&id)), &json!({})).await.expect(200);
    assert_eq!(ended["revoked"], 1);
    refused_within_a_second(&member, &there, Instant::now()).await;
}

#[tokio::test]
async fn a_deleted_user_comes_back_until_they_are_erased() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let (id, email) = (id_of(&member).await, member.get(ME).await.member("email"));
    let project = member.post("/v1/projects", &json!({ "name": "Mine" })).await.expect(201);
    let act = async |what: &str| tenant.admin.post(&format!("{}/{what}", user(&id)), &json!({})).await;
    act("restore").await.problem(409, "user_not_deleted");
    act("erase").await.problem(409, "user_not_deleted");
    tenant.admin.delete(&user(&id)).await.expect(204);
    tenant.admin.delete(&user(&id)).await.expect(204);
    member.get(ME).await.problem(401, "invalid_token");
    tenant.anonymous().login(&email, PASSWORD).await.problem(401, "invalid_credentials");
    patch(&tenant.admin, &id, json!({ "active": true })).await.problem(409, "user_deleted");
    let listed = async |query: &str| {
        let page = tenant.admin.get(&format!("{USERS}?q={email}{query}")).await.expect(200);
        page["items"].as_array().unwrap().len()
    };
    assert_eq!((listed("").await, listed("&state=deleted").await), (0, 1));
    assert!(tenant.admin.get(&user(&id)).await.expect(200)["deleted_at"].is_string());
    // The address is kept for them.
    let guest = json!({ "email": email, "role": "viewer" });
    let invitation = tenant.admin.post("/v1/invitations", &guest).await.expect(201);
    let accepted = json!({ "token": invitation["token"], "password": PASSWORD });
    tenant.anonymous().post("/v1/auth/invitations/accept", &accepted).await.problem(409, "user_exists");
    assert_eq!(act("restore").await.expect(200)["active"], true);
    tenant.anonymous().login(&email, PASSWORD).await.expect(200);
    member.get(ME).await.problem(401, "invalid_token");

    let proofs = "
        INSERT INTO freehold.sign_in_steps (token_hash, user_id, purpose, expires_at)
            VALUES (sha256('step'), $$ID$$, 'code', now() + interval '10 minutes');
        INSERT INTO freehold.credentials (id, user_id, kind, handle, data)
            SELECT gen_random_uuid(), $$ID$$, kind, handle, data::jsonb FROM (VALUES
                ('totp', '', '{\"seed\": \"sealed\", \"last_step\": 1}'),
                ('recovery_code', '1', '{\"digest\": \"' || repeat('0', 64) || '\"}'),
                ('former_password', '1', '{\"hash\": \"$argon2id$v=19$x\"}'),
                ('trusted_device', repeat('0', 64), '{\"expires_at\": \"2040-01-31T00:00:00Z\"}')) AS k (kind, handle, data)";
    tenant.admin.delete(&user(&id)).await.expect(204);
    tenant.database().run(&proofs.replace("ID", &as_uuid(&id))).await;
    act("erase").await.expect(204);
    tenant.admin.get(&user(&id)).await.problem(404, "not_found");
    act("erase").await.problem(404, "not_found");
    let left = "SELECT (SELECT count(*) FROM freehold.credentials c WHERE c.user_id::text = $$ID$$)
                     + (SELECT count(*) FROM freehold.sign_in_steps s WHERE s.user_id::text = $$ID$$)
                     + (SELECT count(*) FROM freehold.sessions s WHERE s.user_id::text = $$ID$$)";
    assert_eq!(tenant.database().value::<i64>(&left.replace("ID", &as_uuid(&id))).await, 0);
    let path = format!("/v1/projects/{}", project["id"].as_str().unwrap());
    assert_eq!(tenant.admin.get(&path).await.expect(200)["created_by"], Value::Null);
    // Whose account it was is still told by the log.
    let events = tenant.admin.get(&format!("/v1/audit-events?target={id}&action=user")).await.expect(200);
    let actions: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| event["action"].clone()).collect();
    assert_eq!(actions, ["user.erased", "user.deleted", "user.restored", "user.deleted"]);
}

#[tokio::test]
async fn custom_roles_grant_what_they_say_and_change_for_everybody_at_once() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let admin = &tenant.admin;
    let offered = admin.get("/v1/permissions").await.expect(200);
    let offered: Vec<_> = offered["items"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(json!(offered), admin.get(ME).await.expect(200)["permissions"]);
    let role = json!({ "name": "auditor", "permissions": ["audit-events:read", "projects:read", "projects:read"] });
    let made = admin.post_once("/v1/roles", "first", &role).await;
    assert_eq!(made.expect(201)["permissions"], json!(["audit-events:read", "projects:read"]));
    assert_eq!(made.header("location"), "/v1/roles/auditor");
    assert_eq!(admin.post_once("/v1/roles", "first", &role).await.expect(201), made.json());
    admin.post("/v1/roles", &role).await.problem(409, "role_exists");
    let unknown = json!({ "name": "other", "permissions": ["projects:read", "tenants:read"] });
    admin.post("/v1/roles", &unknown).await.wrong_field("permissions[1]", "unknown_permission");
    let bad = json!({ "name": "No", "permissions": [] });
    admin.post("/v1/roles", &bad).await.wrong_field("name", "invalid_format");

    let auditor = tenant.member("auditor").await;
    auditor.get("/v1/projects").await.expect(200);
    auditor.get("/v1/tasks").await.problem(403, "forbidden");
    let tag = admin.get("/v1/roles/auditor").await.header("etag").to_owned();
    let change = async |permissions: Value| {
        let request = admin.request(Method::PATCH, "/v1/roles/auditor").header("if-match", &tag);
        Answer::to(request.json(&json!({ "permissions": permissions }))).await
    };
    change(json!(["tasks:read"])).await.expect(200);
    change(json!(["tasks:read"])).await.problem(412, "precondition_failed");
    auditor.get("/v1/tasks").await.expect(200);
    auditor.get("/v1/projects").await.problem(403, "forbidden");

    admin.delete("/v1/roles/auditor").await.problem(409, "role_assigned");
    for built_in in ["owner", "admin", "member", "viewer"] {
        let path = format!("/v1/roles/{built_in}");
        admin.patch(&path, &json!({ "permissions": [] })).await.problem(409, "role_built_in");
        admin.delete(&path).await.problem(409, "role_built_in");
    }
    patch(admin, &id_of(&auditor).await, json!({ "role": "viewer" })).await.expect(200);
    // An invitation that is over keeps no role.
    let guest = json!({ "email": "guest@example.com", "role": "auditor" });
    let invitation = admin.post("/v1/invitations", &guest).await.expect(201);
    admin.delete("/v1/roles/auditor").await.problem(409, "role_assigned");
    admin.delete(&format!("/v1/invitations/{}", invitation["id"].as_str().unwrap())).await.expect(204);
    admin.delete("/v1/roles/auditor").await.expect(204);
    admin.get("/v1/roles/auditor").await.problem(404, "not_found");
    let roles = admin.get("/v1/roles").await.expect(200);
    assert_eq!(roles["items"].as_array().unwrap().len(), 4);
}

/// Two callers of a role each on the platform.
async fn operators(fleet: &Fleet) -> (Caller, Caller) {
    ((*fleet.operator_with_role("owner").await).clone(), (*fleet.operator_with_role("viewer").await).clone())
}

#[tokio::test]
async fn operators_look_after_operators_on_the_admin_listener() {
    let fleet = fleet::shared().await;
    let (owner, viewer) = operators(fleet).await;
    let id = id_of(&viewer).await;
    viewer.get(USERS).await.problem(403, "forbidden");
    let name = unique("operator-role");
    let role = json!({ "name": name, "permissions": ["tenants:read", "users:read"] });
    owner.post("/v1/roles", &role).await.expect(201);
    let foreign = json!({ "name": unique("role"), "permissions": ["projects:read"] });
    owner.post("/v1/roles", &foreign).await.wrong_field("permissions[0]", "unknown_permission");
    patch(&owner, &id, json!({ "role": name })).await.expect(200);
    viewer.get(USERS).await.expect(200);
    viewer.get("/platform/v1/servers").await.problem(403, "forbidden");
    patch(&owner, &id, json!({ "active": false })).await.expect(200);
    viewer.get(ME).await.problem(401, "invalid_token");
    owner.delete(&user(&id)).await.expect(204);
    owner.post(&format!("{}/erase", user(&id)), &json!({})).await.expect(204);
    owner.delete(&format!("/v1/roles/{name}")).await.expect(204);
    let email = format!("{}@example.com", unique("invited"));
    let invited = owner.post("/v1/invitations", &json!({ "email": email, "role": "viewer" })).await.expect(201);
    let accepted = json!({ "token": invited["token"], "password": PASSWORD });
    let anonymous = fleet.replica.admin_anonymous();
    anonymous.post("/v1/auth/invitations/accept", &accepted).await.expect(204);
    anonymous.login(&email, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn other_tenants_people_are_nobodys() {
    let fleet = fleet::shared().await;
    let (tenant, foreign) = (fleet.tenant().await, fleet.tenant().await);
    let id = id_of(&foreign.admin).await;
    let missing = tenant.admin.get(&user("usr_01900000000070008000000000000000")).await;
    let theirs = tenant.admin.get(&user(&id)).await;
    let same = |answer: &Answer| {
        let mut problem = answer.problem(404, "not_found");
        problem["request_id"] = Value::Null;
        problem
    };
    assert_eq!(same(&missing), same(&theirs));
    patch(&tenant.admin, &id, json!({ "active": false })).await.problem(404, "not_found");
    foreign.admin.get(ME).await.expect(200);
}

/// Before a rollout: the tenant has the version before that of the administration of people.
#[tokio::test]
async fn a_tenant_that_no_rollout_has_reached_is_served_as_before_and_asked_to_wait_for_the_rest() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let member = tenant.member("member").await;
    let key = json!({ "name": "ci", "scopes": ["projects:read"] });
    let made = tenant.admin.post("/v1/api-keys", &key).await.expect(201);
    let (id, email) = (id_of(&member).await, member.get(ME).await.member("email"));
    tenant.database().run(&earlier::back_to(2)).await;
    let version = async |number: i32| {
        let set = format!("UPDATE tenants SET freehold_version = {number} WHERE slug = '{}'", tenant.slug);
        fleet.control().run(&set).await;
    };
    version(2).await;
    eventually("the replica to know", async || (tenant.admin.get(USERS).await.status() == 503).then_some(())).await;
    for path in [USERS, "/v1/roles", "/v1/audit-events", "/v1/audit-events/chain", &user(&id)] {
        tenant.admin.get(path).await.problem(503, "tenant_schema_outdated");
    }
    tenant.admin.get("/v1/settings").await.expect(200);
    let tokens = tenant.anonymous().login(&email, PASSWORD).await.expect(200);
    tenant.anonymous().refresh(&tokens["refresh_token"]).await.expect(200);
    member.post("/v1/projects", &json!({ "name": "x" })).await.expect(201);
    fleet.replica.member(&tenant.slug, &made["key"].as_str().unwrap().into()).get("/v1/projects").await.expect(200);
    tenant.admin.get("/v1/api-keys").await.expect(200);
    member.get("/v1/auth/security-log").await.expect(200);
    member.post("/v1/auth/logout", &json!({})).await.expect(204);
    tenant.erase().await;
}
