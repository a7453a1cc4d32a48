//! Tenants: made, refused without a trace, found again, entered by invitation.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    PASSWORD,
    answer::Answer,
    fleet::{self, Fleet},
    tenant::{end_sessions, new_tenant},
    unique,
};

const TENANTS: &str = "/platform/v1/tenants";

#[tokio::test]
async fn a_tenant_is_made_while_the_client_waits_and_serves_at_once() {
    let fleet = fleet::shared().await;
    let slug = unique("waits");
    let answer = fleet.create(&new_tenant(&slug)).await;
    let tenant = answer.expect(201);
    assert_eq!(answer.header("location"), format!("{TENANTS}/{}", tenant["id"].as_str().unwrap()));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(
        (&tenant["state"], &tenant["plan"], &tenant["server"]),
        (&json!("active"), &json!("default"), &json!(fleet.server))
    );
    assert_eq!(tenant["admin_invitation"], Value::Null);
    assert!(tenant["freehold_version"].as_i64() >= Some(1) && tenant["schema_version"].as_i64() >= Some(1), "{tenant}");
    assert_eq!(tenant["url"], format!("http://{slug}.localhost"));
    let email = format!("admin@{slug}.example.com");
    fleet.replica.anonymous(&slug).login(&email, PASSWORD).await.expect(200);
    let name = tenant["id"].as_str().unwrap().replace("ten_", "tenant_");
    let owner: String = fleet
        .on_server("postgres")
        .value(&format!("SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = '{name}'"))
        .await;
    assert_eq!(owner, "freehold_owner");
}

#[tokio::test]
async fn without_waiting_the_answer_leads_to_the_operation() {
    let fleet = fleet::shared().await;
    let answer = fleet.operator().post(TENANTS, &new_tenant(&unique("leads"))).await;
    let created = answer.expect(202);
    let operation = format!("/platform/v1/operations/{}", created["operation_id"].as_str().unwrap());
    assert_eq!((answer.header("location"), &created["state"]), (operation.as_str(), &json!("provisioning")));
    let done = fleet.finished(created["operation_id"].as_str().unwrap()).await;
    assert_eq!((&done["kind"], &done["progress"]), (&json!("tenant.provision"), &json!(1.0)));
    assert_eq!(done["tenant_id"], created["id"]);
    let steps: Vec<_> = done["steps"].as_array().unwrap().iter().map(|step| step["state"].as_str().unwrap()).collect();
    assert!(steps.len() == 7 && steps.iter().all(|state| *state == "succeeded"), "{steps:?}");
    let listed = fleet
        .operator()
        .get(&format!("/platform/v1/operations?tenant_id={}", created["id"].as_str().unwrap()))
        .await
        .expect(200);
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["items"][0]["id"]), (1, &created["operation_id"]));
    let retried = fleet.operator().post(&format!("{operation}/retry"), &json!({})).await;
    retried.problem(409, "operation_not_blocked");
}

/// All that a creation writes, on both sides.
async fn traces(fleet: &Fleet) -> Vec<i64> {
    let mut counts = Vec::new();
    for table in [
        "tenants",
        "operations",
        "operation_steps",
        "secrets",
        "data_keys",
        "signing_keys",
        "idempotency_keys",
        "audit_events",
    ] {
        counts.push(fleet.control().value(&format!("SELECT count(*) FROM {table}")).await);
    }
    for catalogue in ["pg_database", "pg_roles"] {
        counts.push(fleet.on_server("postgres").value(&format!("SELECT count(*) FROM {catalogue}")).await);
    }
    counts
}

fn changed(field: &str, value: Value) -> Value {
    let mut body = new_tenant(&unique("refused"));
    match field.split_once('.') {
        Some((outer, inner)) => body[outer][inner] = value,
        None => body[field] = value,
    }
    body
}

#[tokio::test]
async fn a_refused_tenant_leaves_nothing_behind() {
    let fleet = fleet::alone().await;
    let taken = unique("taken");
    fleet.tenant_from(&new_tenant(&taken)).await;
    let before = traces(&fleet).await;
    let long = "a".repeat(64);
    for (field, value, code) in [
        ("slug", json!(long), "invalid_length"),
        ("slug", json!("quo\"te"), "invalid_format"),
        ("slug", json!("quo'te"), "invalid_format"),
        ("slug", json!("Upper"), "invalid_format"),
        ("slug", json!("ünder"), "invalid_format"),
        ("slug", json!(""), "invalid_length"),
        ("slug", json!("two--hyphens"), "invalid_format"),
        ("slug", json!("platform"), "reserved"),
        ("slug", json!("www"), "reserved"),
        ("slug", json!("api"), "reserved"),
        ("slug", json!(7), "invalid_type"),
        ("name", json!(""), "invalid_length"),
        ("plan", json!("no-such-plan"), "unknown_plan"),
        ("server", json!("no-such-server"), "unknown_server"),
        ("server", json!("platform"), "unknown_server"),
        ("region", json!("nowhere"), "unknown_region"),
        ("admin.email", json!("nobody"), "invalid_email"),
        ("admin.password", json!("too short"), "password_too_short"),
        ("admin.password", json!("passwordpassword"), "password_too_common"),
        ("colour", json!("red"), "unknown_field"),
        ("admin.role", json!("owner"), "unknown_field"),
    ] {
        let body = changed(field, value);
        let answer = fleet.operator().post_once(TENANTS, &unique("key"), &body).await;
        answer.wrong_field(field, code);
    }
    let mut both = changed("slug", json!("No"));
    both["admin"]["email"] = json!("no");
    assert_eq!(fleet.operator().post(TENANTS, &both).await.wrong_fields().len(), 2, "all at once");
    let answer = fleet.operator().post_once(TENANTS, &unique("key"), &new_tenant(&taken)).await;
    answer.problem(409, "slug_taken");
    assert_eq!(traces(&fleet).await, before);
}

#[tokio::test]
async fn two_hundred_requests_with_one_key_make_one_tenant() {
    let fleet = fleet::shared().await;
    let (slug, key) = (unique("once"), unique("key"));
    let mut body = new_tenant(&slug);
    body["admin"] = json!({ "email": "ada@example.com" });
    let create = async || create_with(fleet, &key, &body).await;
    let answers = futures::future::join_all((0..200).map(|_| create())).await;
    let mut same = BTreeSet::new();
    for made in answers {
        same.insert((made["id"].to_string(), made["operation_id"].to_string(), made["admin_invitation"].to_string()));
    }
    assert_eq!(same.len(), 1, "{same:?}");
    let made = create().await;
    fleet.finished(made["operation_id"].as_str().unwrap()).await;
    let rows: i64 = fleet.control().value(&format!("SELECT count(*) FROM tenants WHERE slug = '{slug}'")).await;
    let database = made["id"].as_str().unwrap().replace("ten_", "tenant_");
    let marked = format!("SELECT count(*) FROM pg_database WHERE datname = '{database}'");
    let databases: i64 = fleet.on_server("postgres").value(&marked).await;
    assert_eq!((rows, databases), (1, 1));
    body["name"] = json!("Another");
    fleet.operator().post_once(TENANTS, &key, &body).await.problem(422, "idempotency_key_reused");
    let bad = fleet.operator().request(Method::POST, TENANTS).header("idempotency-key", "a b").json(&body);
    Answer::to(bad).await.problem(400, "invalid_idempotency_key");
}

/// Does what a client is told to: an overloaded control database is asked again.
async fn create_with(fleet: &Fleet, key: &str, body: &Value) -> Value {
    loop {
        let answer = fleet.operator().post_once(TENANTS, key, body).await;
        if answer.status() == 201 || answer.status() == 202 {
            return answer.json();
        }
        answer.problem(503, "control_database_unavailable");
        tokio::time::sleep(Duration::from_secs(answer.header("retry-after").parse().unwrap())).await;
    }
}

#[tokio::test]
async fn tenants_are_found_by_id_by_slug_and_in_pages() {
    let fleet = fleet::shared().await;
    let mark = unique("listed");
    let mut made = BTreeSet::new();
    for number in 0..3 {
        let mut body = new_tenant(&unique("page"));
        body["name"] = json!(format!("{mark} {number}"));
        body["plan"] = json!("bench");
        made.insert(fleet.tenant_from(&body).await.id);
    }
    let operator = fleet.operator();
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = operator
            .get(&format!("{TENANTS}?q={mark}&plan=bench&state=active&limit=2&include=total{cursor}"))
            .await
            .expect(200);
        assert_eq!(page["total"], 3);
        found.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((found.len(), found.iter().cloned().collect()), (3, made));
    assert!(found.is_sorted_by(|a, b| a > b), "newest first");
    let by_id = operator.get(&format!("{TENANTS}/{}", found[0])).await.expect(200);
    let by_slug = operator.get(&format!("{TENANTS}/{}", by_id["slug"].as_str().unwrap())).await.expect(200);
    assert_eq!(by_id, by_slug);
    for nothing in ["ten_00000000000070008000000000000000", "no-such-tenant", "platform"] {
        operator.get(&format!("{TENANTS}/{nothing}")).await.problem(404, "not_found");
    }
    operator.get(&format!("{TENANTS}/op_00000000000070008000000000000000")).await.problem(400, "invalid_id");
    operator.get(&format!("{TENANTS}?state=asleep")).await.wrong_field("state", "invalid_value");
    operator.get(&format!("{TENANTS}?server=no-such")).await.wrong_field("server", "unknown_server");
    let none = operator.get(&format!("{TENANTS}?q={mark}&plan=default")).await.expect(200);
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn an_invited_administrator_joins_once() {
    let fleet = fleet::shared().await;
    let slug = unique("invited");
    let mut body = new_tenant(&slug);
    body["admin"] = json!({ "email": "Ada@Example.com", "name": "Ada" });
    let created = fleet.create(&body).await.json();
    fleet.finished(created["operation_id"].as_str().unwrap()).await;
    let invitation = &created["admin_invitation"];
    assert_eq!(invitation["url"], format!("http://{slug}.localhost/v1/auth/invitations/accept"));
    let anonymous = fleet.replica.anonymous(&slug);
    let accept = async |token: &Value, password: &str| {
        anonymous.post("/v1/auth/invitations/accept", &json!({ "token": token, "password": password })).await
    };
    anonymous.login("ada@example.com", PASSWORD).await.problem(401, "invalid_credentials");
    accept(&json!("nonsense"), PASSWORD).await.problem(422, "invalid_invitation");
    accept(&invitation["token"], "short").await.wrong_field("password", "password_too_short");
    accept(&invitation["token"], PASSWORD).await.expect(204);
    accept(&invitation["token"], PASSWORD).await.problem(422, "invalid_invitation");
    let tokens = anonymous.login("ada@example.com", PASSWORD).await.expect(200);
    let ada = fleet.replica.member(&slug, &tokens["access_token"].as_str().unwrap().into());
    let me = ada.get("/v1/auth/me").await.expect(200);
    assert_eq!((&me["role"], &me["email_verified"], &me["name"]), (&json!("owner"), &json!(true), &json!("Ada")));
}

#[tokio::test]
async fn what_others_did_to_a_database_or_its_role_is_named_until_it_is_mended() {
    let fleet = fleet::alone().await;
    let (tenant, server) = (fleet.tenant().await, fleet.on_server("postgres"));
    let name = tenant.database_name();
    let harm = async |sql: &str| {
        end_sessions(&fleet, std::slice::from_ref(&tenant)).await;
        server.run(sql).await;
    };
    harm(&format!("ALTER DATABASE {name} RENAME TO elsewhere")).await;
    tenant.admin.get("/v1/projects").await.problem(500, "database_missing");
    server.run(&format!("ALTER DATABASE elsewhere RENAME TO {name}")).await;
    tenant.admin.get("/v1/projects").await.expect(200);

    harm(&format!("ALTER ROLE {name} PASSWORD 'of somebody else'")).await;
    tenant.admin.get("/v1/projects").await.problem(500, "database_login_refused");
    let rotation = fleet.operator().request(Method::POST, &format!("{TENANTS}/{}/rotate-credentials", tenant.id));
    Answer::to(rotation.header("prefer", "wait=10").json(&json!({}))).await.expect(200);
    tenant.admin.get("/v1/projects").await.expect(200);
}
