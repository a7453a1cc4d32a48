//! A clone has the rows of its source and is nobody's door to it; the source does not notice.

use std::time::Duration;

use reqwest::{Method, header::LOCATION};
use serde_json::{Value, json};

use crate::{
    archives::{GRANTS, contents},
    archiving::{failed, fill, path, state},
    harness::{
        PASSWORD,
        answer::Answer,
        eventually,
        fleet::{self, Fleet},
        sql::Database,
        tenant::{Tenant, new_tenant},
        unique,
    },
    placement::{SERVERS, two_servers},
};

/// What a clone has no rows of.
const LEFT_BEHIND: [&str; 11] = [
    "freehold.sessions",
    "freehold.refresh_tokens",
    "freehold.sign_in_steps",
    "freehold.sign_in_attempts",
    "freehold.invitations",
    "freehold.api_keys",
    "freehold.audit_events",
    "freehold.audit_batches",
    "freehold.audit_digests",
    "freehold.audit_horizons",
    "freehold.idempotency_keys",
];

fn wanted(slug: &str) -> Value {
    json!({ "slug": slug, "name": "A copy" })
}

/// Asks for a clone of the tenant.
async fn ask(fleet: &Fleet, source: &Tenant<'_>) -> Value {
    fleet.operator().post(&path(source, "clone"), &wanted(&unique("copy"))).await.expect(202)
}

/// A clone of the tenant, once it is made.
pub(crate) async fn made(fleet: &Fleet, source: &Tenant<'_>) -> Value {
    let asked = ask(fleet, source).await;
    let operation = fleet.finished(asked["operation_id"].as_str().unwrap()).await;
    assert_eq!((&operation["kind"], &operation["tenant_id"]), (&json!("tenant.clone"), &asked["id"]));
    asked
}

pub(crate) fn database_of(fleet: &Fleet, tenant: &Value) -> Database {
    fleet.on_server(&tenant["id"].as_str().unwrap().replace("ten_", "tenant_"))
}

/// Rows of every kind that tells of people or opens doors.
async fn open_doors(tenant: &Tenant<'_>) {
    let sql = "INSERT INTO freehold.api_keys (id, name, secret_hash, user_id, scopes)
                    SELECT gen_random_uuid(), 'key', sha256('key'), id, '{}' FROM freehold.users LIMIT 1;
               INSERT INTO freehold.invitations (id, email, role, token_hash, invited_by, expires_at)
                    VALUES (gen_random_uuid(), 'guest@example.com', 'member', sha256('guest'), 'usr', now() + interval '1 day');
               INSERT INTO freehold.idempotency_keys (principal, route, key, request_hash, resource_id)
                    VALUES ('usr', 'POST /v1/x', 'key', sha256('x'), gen_random_uuid());
               INSERT INTO freehold.sign_in_steps (token_hash, user_id, purpose, expires_at)
                    SELECT sha256('step'), id, 'code', now() + interval '1 day' FROM freehold.users LIMIT 1;
               INSERT INTO freehold.audit_events (id, actor, action) VALUES (gen_random_uuid(), 'usr', 'x');
               INSERT INTO freehold.audit_batches (log, number, events, through, previous, digest)
                    VALUES ('platform', 1, 1, now(), sha256('x'), sha256('y'));
               INSERT INTO freehold.audit_digests (event_id, log, batch, digest)
                    VALUES (gen_random_uuid(), 'platform', 1, sha256('x'));
               INSERT INTO freehold.audit_horizons (log, number) VALUES ('platform', 1)";
    tenant.database().run(sql).await;
}

/// Tables and what is in them, but for what stays behind.
async fn carried(database: &Database) -> Vec<String> {
    let all = contents(database).await;
    all.into_iter().filter(|table| !LEFT_BEHIND.contains(&table.split(' ').next().unwrap())).collect()
}

#[tokio::test]
async fn a_clone_has_the_rows_of_its_source_and_nobodys_keys_to_it() {
    let fleet = fleet::alone().await;
    let (source, canary) = (fleet.tenant().await, unique("canary"));
    fill(&source, &canary).await;
    open_doors(&source).await;
    // Nor has a clone its source's devices.
    source.database().run("DELETE FROM freehold.credentials WHERE kind = 'known_device'").await;
    let before = carried(&source.database()).await;
    let tokens = source.login().await;

    let clone = made(&fleet, &source).await;
    source.admin.post("/v1/projects", &json!({ "name": "Written after the clone" })).await.expect(201);
    let copied = database_of(&fleet, &clone);
    assert_eq!(carried(&copied).await, before);
    for table in LEFT_BEHIND {
        let count = format!("SELECT count(*) FROM {table}");
        assert!(source.database().value::<i64>(&count).await > 0, "{table}: the test proves nothing");
        assert_eq!(copied.value::<i64>(&count).await, 0, "{table}");
    }
    assert_eq!(copied.values::<String>(GRANTS).await, source.database().values::<String>(GRANTS).await);

    let slug = clone["slug"].as_str().unwrap();
    let here = fleet.replica.anonymous(slug);
    let stolen = fleet.replica.member(slug, &tokens["access_token"].as_str().unwrap().into());
    stolen.get("/v1/projects").await.problem(403, "tenant_mismatch");
    let refreshed = here.post("/v1/auth/refresh", &json!({ "refresh_token": tokens["refresh_token"] })).await;
    assert_eq!(refreshed.status(), 401, "{}", refreshed.text());
    let own = here.login(&source.admin_email, PASSWORD).await.expect(200);
    let admin = fleet.replica.member(slug, &own["access_token"].as_str().unwrap().into());
    admin.post("/v1/projects", &json!({ "name": "Of the clone" })).await.expect(201);
    let of_the_clone = "SELECT count(*) FROM projects WHERE name = 'Of the clone'";
    assert_eq!(source.database().value::<i64>(of_the_clone).await, 0);
    let isolation = fleet.patiently("/platform/v1/isolation", 0).await;
    assert_eq!(isolation["successes"], 0, "{isolation}");
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_clone_and_another_none() {
    let fleet = fleet::shared().await;
    let (source, other, slug) = (fleet.tenant().await, fleet.tenant().await, unique("copy"));
    let ask = async |source: &Tenant<'_>, slug: &str| {
        let request = fleet.operator().request(Method::POST, &path(source, "clone"));
        Answer::to(request.header("idempotency-key", slug).header("prefer", "wait=10").json(&wanted(slug))).await
    };
    let first = ask(&source, &slug).await;
    assert!(matches!(first.status(), 201 | 202), "{}", first.text());
    assert!(first.header(LOCATION.as_str()).starts_with("/platform/v1/"));
    fleet.finished(first.json()["operation_id"].as_str().unwrap()).await;
    let again = ask(&source, &slug).await.expect(201);
    assert_eq!(again["id"], first.json()["id"]);
    assert_eq!(
        (&again["plan"], &again["server"], &again["state"]),
        (&json!("default"), &json!(fleet.server), &json!("active"))
    );
    ask(&other, &slug).await.problem(422, "idempotency_key_reused");
    let taken = fleet.operator().post(&path(&other, "clone"), &wanted(&slug)).await;
    taken.problem(409, "slug_taken");
    let wrong = fleet.operator().post(&path(&other, "clone"), &json!({ "slug": "X", "name": "" })).await;
    assert_eq!(wrong.problem(422, "validation_failed")["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn nothing_else_changes_the_source_while_it_is_copied() {
    let fleet = fleet::shared().await;
    let source = fleet.tenant().await;
    let admin = fleet.server_admin().await;
    // As somebody who is at work on the source: the copying waits.
    assert!(admin.lock_tenant(source.id.parse().unwrap(), Duration::from_secs(5)).await.unwrap());
    let clone = ask(fleet, &source).await;
    let confirmed = json!({ "confirm": source.slug, "erase": true });
    let again = wanted(&unique("copy"));
    for (action, body) in
        [("archive", &json!({})), ("rotate-credentials", &json!({})), ("delete", &confirmed), ("clone", &again)]
    {
        fleet.operator().post(&path(&source, action), body).await.problem(409, "operation_in_progress");
    }
    // What is only written down waits for nobody.
    fleet.operator().post(&path(&source, "delete"), &json!({ "confirm": source.slug })).await.expect(200);
    fleet.operator().post(&path(&source, "undelete"), &json!({})).await.expect(200);
    drop(admin);
    fleet.finished(clone["operation_id"].as_str().unwrap()).await;
    let archived = fleet.operator().post(&path(&source, "archive"), &json!({})).await.expect(202);
    fleet.finished(archived["operation_id"].as_str().unwrap()).await;
    let refused = fleet.operator().post(&path(&source, "clone"), &again).await;
    refused.problem(409, "tenant_state_conflict");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_cloned_and_the_name_is_free_again() {
    let fleet = fleet::shared().await;
    let source = fleet.tenant().await;
    source.database().run("CREATE TABLE unreadable (id int)").await;
    let slug = unique("copy");
    let asked = fleet.operator().post(&path(&source, "clone"), &wanted(&slug)).await.expect(202);
    failed(fleet, asked["operation_id"].as_str().unwrap()).await;
    let path = format!("/platform/v1/tenants/{}", asked["id"].as_str().unwrap());
    assert_eq!(fleet.patiently(&path, 0).await["state"], "deleted");
    assert_eq!(state(fleet, &source).await, "active");
    for id in [&source.id, asked["id"].as_str().unwrap()] {
        let left = format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'freehold%{}'", id.replace("ten_", ""));
        assert_eq!(fleet.on_server("postgres").value::<i64>(&left).await, 0, "{id}");
    }
    source.database().run("DROP TABLE unreadable").await;
    let again = fleet.operator().post(&self::path(&source, "clone"), &wanted(&slug)).await.expect(202);
    fleet.finished(again["operation_id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn what_cannot_be_restored_is_not_cloned_and_is_named() {
    let fleet = fleet::shared().await;
    let source = fleet.tenant().await;
    source.database().run("CREATE EXTENSION pg_stat_statements").await;
    let asked = ask(fleet, &source).await;
    let operation = failed(fleet, asked["operation_id"].as_str().unwrap()).await;
    let error = operation["error"].as_str().unwrap();
    assert!(error.starts_with("not_restorable: ") && error.contains("EXTENSION pg_stat_statements"), "{operation}");
    let steps = operation["steps"].as_array().unwrap();
    let copying = steps.iter().find(|step| step["name"] == "copy_database").unwrap();
    // Once forwards, and once when it was undone.
    assert_eq!(copying["attempts"], 2, "{operation}");
    source.database().run("DROP EXTENSION pg_stat_statements").await;
    made(fleet, &source).await;
}

#[tokio::test]
async fn a_clone_lives_elsewhere_in_the_region_when_the_server_of_its_source_takes_nobody() {
    let (fleet, second) = two_servers().await;
    let mut body = new_tenant(&unique("tenant"));
    body["server"] = json!(fleet.server);
    let source = fleet.tenant_from(&body).await;
    source.admin.post("/v1/projects", &json!({ "name": "Carried over" })).await.expect(201);
    let listed = fleet.patiently(SERVERS, 0).await;
    let home = listed["items"].as_array().unwrap().iter().find(|server| server["name"] == json!(fleet.server)).unwrap();
    let home = format!("{SERVERS}/{}", home["id"].as_str().unwrap());
    fleet.operator().post(&format!("{home}/cordon"), &json!({})).await.expect(200);
    let body = json!({ "slug": unique("abroad"), "name": "Abroad" });
    let refusal = fleet.operator().post(&path(&source, "clone"), &body).await.problem(409, "no_server_available");
    assert_eq!(refusal["detail"], "every server of the region is cordoned");
    fleet.operator().patch(&second, &json!({ "region": "here" })).await.expect(200);
    let clone = made(&fleet, &source).await;
    fleet.operator().post(&format!("{home}/uncordon"), &json!({})).await.expect(200);
    let second = fleet.patiently(&second, 0).await;
    assert_eq!(clone["server"], second["name"]);
    let slug = clone["slug"].as_str().unwrap();
    let tokens = fleet.replica.anonymous(slug).login(&source.admin_email, PASSWORD).await.expect(200);
    let member = fleet.replica.member(slug, &tokens["access_token"].as_str().unwrap().into());
    let projects = member.get("/v1/projects").await.expect(200);
    assert_eq!(projects["items"][0]["name"], "Carried over");
    eventually("nothing is left of the errand", async || {
        let left =
            "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'freehold_dump%' OR rolname LIKE 'freehold_restore%'";
        (fleet.on_server("postgres").value::<i64>(left).await == 0).then_some(())
    })
    .await;
}
