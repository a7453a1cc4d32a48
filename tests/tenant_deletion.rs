//! Deletion: refused at once, had back as it was, erased without a trace, and bounded.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use freehold::types::{ArchiveId, Clock, Random};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::harness::{
    answer::Answer,
    eventually, eventually_within,
    fleet::{self, Fleet},
    replica::Replica,
    sql::Database,
    tenant::{Tenant, end_sessions, new_tenant},
    unique,
};

fn path(id: &str, action: &str) -> String {
    format!("/platform/v1/tenants/{id}/{action}")
}

async fn delete(fleet: &Fleet, tenant: &Tenant<'_>, erase: bool) -> Answer {
    let body = json!({ "confirm": tenant.slug, "erase": erase });
    fleet.operator().post(&path(&tenant.id, "delete"), &body).await
}

async fn undelete(fleet: &Fleet, tenant: &Tenant<'_>) -> Answer {
    let request = fleet.operator().request(Method::POST, &path(&tenant.id, "undelete"));
    Answer::to(request.header("prefer", "wait=10")).await
}

async fn state(fleet: &Fleet, id: &str) -> String {
    let tenant = fleet.patiently(&format!("/platform/v1/tenants/{id}"), 0).await;
    tenant["state"].as_str().unwrap().to_owned()
}

/// A digest of every table's rows.
async fn checksums(database: &Database) -> BTreeMap<String, String> {
    let tables =
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('freehold', 'public')";
    let tables: Vec<String> = database.values(tables).await;
    let mut sums = BTreeMap::new();
    for table in tables {
        let sql =
            format!("SELECT count(*) || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t");
        sums.insert(table, database.value(&sql).await);
    }
    sums
}

#[tokio::test]
async fn a_deletion_is_confirmed_previewed_and_taken_back_without_a_loss() {
    let fleet = fleet::shared().await;
    let (tenant, operator) = (fleet.tenant().await, fleet.operator());
    for number in 0..5 {
        tenant.admin.post("/v1/projects", &json!({ "name": format!("project {number}") })).await.expect(201);
    }
    tenant.member("member").await;
    for (body, field, code) in [
        (json!({}), "confirm", "required"),
        (json!({ "confirm": "acme" }), "confirm", "invalid_value"),
        (json!({ "confirm": "acme", "dry_run": true }), "confirm", "invalid_value"),
        (json!({ "confirm": tenant.slug, "force": true }), "force", "unknown_field"),
    ] {
        operator.post(&path(&tenant.id, "delete"), &body).await.wrong_field(field, code);
    }
    let preview = json!({ "confirm": tenant.slug, "dry_run": true });
    let preview = operator.post(&path(&tenant.id, "delete"), &preview).await.expect(200)["would_delete"].clone();
    assert!(preview["bytes"].as_i64().unwrap() > 1_000_000, "{preview}");
    let counts = json!({ "databases": 1, "roles": 1, "users": 2, "backups": 0, "bytes": preview["bytes"] });
    assert_eq!(preview, counts);
    tenant.admin.get("/v1/projects").await.expect(200);

    let before = checksums(&tenant.database()).await;
    for suspended in [false, true] {
        if suspended {
            operator.post(&path(&tenant.id, "suspend"), &json!({ "reason": "unpaid" })).await.expect(200);
        }
        let deleted = delete(fleet, &tenant, false).await.expect(200);
        assert_eq!(deleted["state"], "deleting");
        assert!(deleted["erase_after"].is_string() && deleted["operation_id"].is_null(), "{deleted}");
        tenant.admin.get("/v1/projects").await.problem(410, "tenant_gone");
        assert_eq!(delete(fleet, &tenant, false).await.expect(200), deleted, "again is no other deletion");
        operator.post("/platform/v1/tenants", &new_tenant(&tenant.slug)).await.problem(409, "slug_taken");
        let back = undelete(fleet, &tenant).await.expect(200);
        assert_eq!(back["state"], if suspended { "suspended" } else { "active" });
        assert_eq!(back["erase_after"], Value::Null);
    }
    operator.post(&path(&tenant.id, "resume"), &json!({})).await.expect(200);
    assert_eq!(checksums(&tenant.database()).await, before);
    // After that: a session notes when it is used.
    tenant.admin.get("/v1/projects").await.expect(200);
    operator.get(&path(&tenant.id, "certificate")).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_deletion_asked_for_while_an_earlier_one_is_being_taken_back_counts() {
    let fleet = fleet::undisturbed().await;
    let tenant = fleet.tenant().await;
    delete(&fleet, &tenant, false).await.expect(200);
    // Taken back while an erasure was at work, which has ended since: the janitor would finish that.
    let taken_back = format!("UPDATE tenants SET erase_after = NULL WHERE id = '{}'", tenant.id.replace("ten_", ""));
    fleet.control().run(&taken_back).await;
    let deleted = delete(&fleet, &tenant, false).await.expect(200);
    assert!(deleted["state"] == "deleting" && deleted["erase_after"].is_string(), "{deleted}");
    undelete(&fleet, &tenant).await.expect(200);
}

#[tokio::test]
async fn a_tenant_whose_role_may_not_log_in_or_is_gone_is_erased_all_the_same() {
    let fleet = fleet::shared().await;
    let (tenant, server) = (fleet.tenant().await, fleet.on_server("postgres"));
    let name = tenant.database_name();
    server.run(&format!("ALTER ROLE {name} NOLOGIN")).await;
    end_sessions(fleet, std::slice::from_ref(&tenant)).await;
    tenant.admin.get("/v1/projects").await.problem(503, "tenant_login_denied");
    let preview = json!({ "confirm": tenant.slug, "dry_run": true });
    let preview = fleet.operator().post(&path(&tenant.id, "delete"), &preview).await.expect(200);
    assert_eq!((&preview["would_delete"]["databases"], &preview["would_delete"]["users"]), (&json!(1), &json!(0)));
    let operation = delete(fleet, &tenant, true).await.expect(202)["operation_id"].as_str().unwrap().to_owned();
    fleet.finished(&operation).await;

    let tenant = fleet.tenant().await;
    let name = tenant.database_name();
    end_sessions(fleet, std::slice::from_ref(&tenant)).await;
    server.run(&format!("REVOKE ALL ON DATABASE {name} FROM {name}; DROP ROLE {name}")).await;
    let operation = delete(fleet, &tenant, true).await.expect(202)["operation_id"].as_str().unwrap().to_owned();
    fleet.finished(&operation).await;
}

/// Everything in the control database that holds `text`.
async fn traces(fleet: &Fleet, text: &str) -> Vec<String> {
    let control = fleet.control();
    let tables: Vec<String> = control.values("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").await;
    let mut found = Vec::new();
    for table in tables {
        let sql = format!("SELECT t::text FROM {table} t WHERE strpos(lower(t::text), lower('{text}')) > 0");
        found.extend(control.values::<String>(&sql).await.into_iter().map(|row| format!("{table}: {row}")));
    }
    found
}

/// Failed attempts that are counted in Redis, as those of a tenant are that no rollout has brought far.
async fn fail_to_sign_in_as_before(fleet: &Fleet, (slug, uuid): (&str, &str)) {
    let anonymous = fleet.replica.anonymous(slug);
    let newest: i32 = fleet.control().value(&format!("SELECT freehold_version FROM tenants WHERE id = '{uuid}'")).await;
    let is_told = async |version: i32| {
        fleet.control().run(&format!("UPDATE tenants SET freehold_version = {version} WHERE id = '{uuid}'")).await;
        eventually("the replica to know", async || {
            let asked = anonymous.post("/v1/auth/password/forgot", &json!({ "email": "nobody@example.com" })).await;
            ((asked.status() == 503) == (version < newest)).then_some(())
        })
        .await;
    };
    is_told(3).await;
    for _ in 0..3 {
        anonymous.login("nobody@example.com", "a wrong passphrase").await.problem(401, "invalid_credentials");
    }
    is_told(newest).await;
}

#[tokio::test]
async fn an_erased_tenant_leaves_a_tombstone_and_a_certificate_and_nothing_else() {
    let fleet = fleet::alone().await;
    let (operator, canary, key) = (fleet.operator(), unique("canary"), unique("key"));
    let mut body = new_tenant(&unique("erased"));
    body["name"] = json!(canary);
    body["admin"]["email"] = json!(format!("{canary}@example.com"));
    let made = operator.post_once("/platform/v1/tenants", &key, &body).await.expect(202);
    fleet.finished(made["operation_id"].as_str().unwrap()).await;
    let (id, slug) = (made["id"].as_str().unwrap(), made["slug"].as_str().unwrap());
    operator.patch(&format!("/platform/v1/tenants/{id}"), &json!({ "labels": { "owner": canary } })).await.expect(200);
    let uuid = id.replace("ten_", "");
    fail_to_sign_in_as_before(&fleet, (slug, &uuid)).await;
    let wrapped: String =
        fleet.control().value(&format!("SELECT encode(wrapped, 'hex') FROM data_keys WHERE owner_id = '{uuid}'")).await;
    let secret: String = fleet
        .control()
        .value(&format!("SELECT encode(sealed, 'hex') FROM secrets WHERE owner_id = '{uuid}' LIMIT 1"))
        .await;
    let rehearsed = format!(
        "INSERT INTO rehearsals (tenant_id, operation_id, from_freehold, from_product, to_freehold, to_product, statements)
         VALUES ('{uuid}', gen_random_uuid(), 1, 1, 1, 2, jsonb_build_array(jsonb_build_object('error', '{canary}')))"
    );
    fleet.control().run(&rehearsed).await;
    for text in [&canary, &wrapped, &secret] {
        assert!(!traces(&fleet, text).await.is_empty(), "the search finds what is there");
    }

    let erased = operator.post(&path(id, "delete"), &json!({ "confirm": slug, "erase": true })).await;
    let operation = erased.expect(202)["operation_id"].as_str().unwrap().to_owned();
    assert_eq!(erased.header("location"), format!("/platform/v1/operations/{operation}"));
    fleet.replica.anonymous(slug).get("/v1/auth/me").await.problem(410, "tenant_gone");
    let again = operator.post(&path(id, "delete"), &json!({ "confirm": slug, "erase": true })).await;
    assert!(matches!(again.status(), 202 | 410), "{}", again.text());
    fleet.finished(&operation).await;

    let name = format!("tenant_{uuid}");
    for catalogue in ["pg_database WHERE datname", "pg_roles WHERE rolname"] {
        let count: i64 =
            fleet.on_server("postgres").value(&format!("SELECT count(*) FROM {catalogue} = '{name}'")).await;
        assert_eq!(count, 0, "{catalogue}");
    }
    for text in [&canary, &wrapped, &secret] {
        assert_eq!(traces(&fleet, text).await, Vec::<String>::new(), "{text}");
    }
    for table in [
        "data_keys WHERE owner_id",
        "secrets WHERE owner_id",
        "signing_keys WHERE tenant_id",
        "archives WHERE tenant_id",
        "idempotency_keys WHERE resource_id",
    ] {
        assert_eq!(
            fleet.control().value::<i64>(&format!("SELECT count(*) FROM {table} = '{uuid}'")).await,
            0,
            "{table}"
        );
    }
    assert_tombstone(&fleet, id, slug).await;
    assert_certificate(&fleet, id, slug, &wrapped).await;
    fleet.assert_clean().await;
}

/// Puts an object into the archive store, as an archive of the tenant would lie there: its id and its place.
fn archived(fleet: &Fleet, tenant: &Tenant<'_>, content: &str) -> (ArchiveId, PathBuf) {
    let archive = ArchiveId::generate(&Clock::default(), Random);
    let folder = PathBuf::from(fleet.setting("FREEHOLD_ARCHIVE_URL")).join(&tenant.id);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{archive}.archive"));
    fs::write(&file, content).unwrap();
    (archive, file)
}

#[tokio::test]
async fn archives_go_with_their_tenant_those_that_nobody_recorded_too() {
    let fleet = fleet::shared().await;
    let (tenant, other) = (fleet.tenant().await, fleet.tenant().await);
    let (recorded, file) = archived(fleet, &tenant, "recorded");
    let (_, stray) = archived(fleet, &tenant, "stray");
    let (_, foreign) = archived(fleet, &other, "another's");
    let sql = format!(
        "INSERT INTO archives (id, tenant_id, operation_id, sealed_key, contents, server_version, bytes, sha256, verified_at)
         VALUES ('{0}', '{1}', '{0}', '', '{{}}', 150000, 8, sha256('recorded'), now())",
        recorded.uuid(),
        tenant.id.replace("ten_", "")
    );
    fleet.control().run(&sql).await;
    let preview = json!({ "confirm": tenant.slug, "dry_run": true });
    let preview = fleet.operator().post(&path(&tenant.id, "delete"), &preview).await.expect(200);
    assert_eq!(preview["would_delete"]["backups"], 1);
    let operation = delete(fleet, &tenant, true).await.expect(202)["operation_id"].as_str().unwrap().to_owned();
    fleet.finished(&operation).await;
    assert!(!file.exists() && !stray.exists() && foreign.exists());
    let certificate = fleet.patiently(&path(&tenant.id, "certificate"), 0).await;
    let sha256: String = fleet.control().value("SELECT encode(sha256('recorded'), 'hex')").await;
    assert_eq!(certificate["archives"], json!([{ "id": recorded, "bytes": 8, "sha256": sha256 }]));
    fs::remove_file(foreign).unwrap();
}

async fn assert_tombstone(fleet: &Fleet, id: &str, slug: &str) {
    let operator = fleet.operator();
    let tombstone = operator.get(&format!("/platform/v1/tenants/{id}")).await.expect(200);
    assert_eq!(
        (&tombstone["state"], &tombstone["name"], &tombstone["labels"]),
        (&json!("deleted"), &json!(""), &json!({}))
    );
    operator.post("/platform/v1/tenants", &new_tenant(slug)).await.problem(409, "slug_taken");
    operator.post(&path(id, "undelete"), &json!({})).await.problem(410, "tenant_gone");
    operator.get(&path(id, "rehearsal")).await.problem(410, "tenant_gone");
}

async fn assert_certificate(fleet: &Fleet, id: &str, slug: &str, wrapped: &str) {
    let certificate = fleet.patiently(&path(id, "certificate"), 0).await;
    assert_eq!((&certificate["tenant_id"], &certificate["slug"]), (&json!(id), &json!(slug)));
    assert_eq!((&certificate["server"], &certificate["users"]), (&json!(fleet.server), &json!(1)));
    let name = id.replace("ten_", "tenant_");
    assert_eq!((&certificate["database"]["name"], &certificate["roles"]), (&json!(name), &json!([name])));
    assert!(certificate["database"]["bytes"].as_i64().unwrap() > 1_000_000, "{certificate}");
    assert!(certificate["requested_by"].as_str().unwrap().starts_with("key_"), "{certificate}");
    assert!(certificate["erased_at"].as_str() > certificate["requested_at"].as_str(), "{certificate}");
    assert_eq!(certificate["signing_keys"].as_array().unwrap().len(), 1, "{certificate}");
    assert_eq!((&certificate["archives"], &certificate["cache_keys"]), (&json!([]), &json!(2)), "{certificate}");
    let sha256: String =
        fleet.control().value(&format!("SELECT encode(sha256(decode('{wrapped}', 'hex')), 'hex')")).await;
    assert_eq!(certificate["data_key"], json!({ "kek_id": "k1", "sha256": sha256 }));
}

#[tokio::test]
async fn the_janitor_erases_what_is_due_and_the_name_is_free_again() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let changes = [("FREEHOLD_DELETION_GRACE_SECONDS", "1")];
    let brief = fleet.another_replica(&changes, Clock::default()).await;
    let body = json!({ "confirm": tenant.slug });
    brief.operator(fleet.operator().bearer()).post(&path(&tenant.id, "delete"), &body).await.expect(200);
    eventually_within("the erasure", Duration::from_secs(30), async || {
        (state(fleet, &tenant.id).await == "deleted").then_some(())
    })
    .await;
    let certificate = fleet.patiently(&path(&tenant.id, "certificate"), 0).await;
    assert!(certificate["requested_by"].as_str().unwrap().starts_with("key_"), "not the janitor: {certificate}");
    fleet.operator().post("/platform/v1/tenants", &new_tenant(&tenant.slug)).await.problem(409, "slug_taken");
    fleet.control().run(&format!("UPDATE slugs SET expires_at = now() WHERE slug = '{}'", tenant.slug)).await;
    tenant.anonymous().get("/v1/auth/me").await.problem(410, "tenant_gone");
    eventually("the janitor to forget the name", async || {
        (tenant.anonymous().get("/v1/auth/me").await.status() == 404).then_some(())
    })
    .await;
    fleet.tenant_from(&new_tenant(&tenant.slug)).await;
}

/// A superuser's session in the middle of a change of the tenant's role: nobody else can change it meanwhile.
async fn hold_role(fleet: &Fleet, tenant: &Tenant<'_>) -> Client {
    let session = fleet.on_server("postgres").connect().await.unwrap();
    let role = tenant.database_name();
    session.batch_execute(&format!("BEGIN; ALTER ROLE {role} CONNECTION LIMIT 99")).await.unwrap();
    session
}

async fn begun(fleet: &Fleet, operation: &str, step: &str) -> Value {
    let path = format!("/platform/v1/operations/{operation}");
    eventually("the step to begin", async || {
        let operation = fleet.patiently(&path, 0).await;
        let steps = operation["steps"].as_array().unwrap();
        steps.iter().any(|one| one["name"] == step && one["state"] != "pending").then_some(operation)
    })
    .await
}

#[tokio::test]
async fn an_erasure_under_way_can_be_called_off_until_the_database_goes() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let before = checksums(&tenant.database()).await;
    let held = hold_role(fleet, &tenant).await;
    let operation = delete(fleet, &tenant, true).await.expect(202)["operation_id"].as_str().unwrap().to_owned();
    begun(fleet, &operation, "deny_login").await;
    let regretted = fleet.operator().post(&path(&tenant.id, "undelete"), &json!({})).await;
    assert_eq!(regretted.expect(202)["operation_id"], json!(operation));
    delete(fleet, &tenant, true).await.problem(409, "operation_in_progress");
    held.batch_execute("ROLLBACK").await.unwrap();
    eventually("the tenant to be back", async || (state(fleet, &tenant.id).await == "active").then_some(())).await;
    eventually("the operation to end", async || {
        let ended = fleet.patiently(&format!("/platform/v1/operations/{operation}"), 0).await;
        (ended["state"] == "cancelled").then_some(())
    })
    .await;
    assert_eq!(checksums(&tenant.database()).await, before);
    // After that: a session notes when it is used.
    tenant.admin.get("/v1/projects").await.expect(200);
    fleet.operator().get(&path(&tenant.id, "certificate")).await.problem(404, "not_found");
}

#[tokio::test]
async fn cancelling_the_erasure_itself_begins_the_grace_time_anew() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let held = hold_role(fleet, &tenant).await;
    let operation = delete(fleet, &tenant, true).await.expect(202)["operation_id"].as_str().unwrap().to_owned();
    begun(fleet, &operation, "deny_login").await;
    fleet.operator().post(&format!("/platform/v1/operations/{operation}/cancel"), &json!({})).await.expect(202);
    held.batch_execute("ROLLBACK").await.unwrap();
    eventually("the operation to end", async || {
        let ended = fleet.patiently(&format!("/platform/v1/operations/{operation}"), 0).await;
        (ended["state"] == "cancelled").then_some(())
    })
    .await;
    let waiting: bool = fleet
        .control()
        .value(&format!("SELECT erase_after > now() + interval '6 days' FROM tenants WHERE slug = '{}'", tenant.slug))
        .await;
    assert!(waiting && state(fleet, &tenant.id).await == "deleting");
    assert_eq!(undelete(fleet, &tenant).await.expect(200)["state"], "active");
    tenant.admin.get("/v1/projects").await.expect(200);
}

#[tokio::test]
async fn once_the_database_goes_nothing_brings_the_tenant_back() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    // A superuser's session: the administrative role may not end it, so that the database stays, half gone.
    let session = tenant.database().connect().await.unwrap();
    let operation = delete(fleet, &tenant, true).await.expect(202)["operation_id"].as_str().unwrap().to_owned();
    begun(fleet, &operation, "drop_database").await;
    undelete(fleet, &tenant).await.problem(409, "tenant_state_conflict");
    let cancel = format!("/platform/v1/operations/{operation}/cancel");
    fleet.operator().post(&cancel, &json!({})).await.problem(409, "operation_not_cancellable");
    drop(session);
    // A retry after some seconds finishes it.
    fleet.finished(&operation).await;
    assert_eq!(state(fleet, &tenant.id).await, "deleted");
}

#[tokio::test]
async fn exactly_as_many_deletions_as_may_be_get_through() {
    const MORE: usize = 7;
    let fleet = fleet::alone().await;
    let counted: i64 = fleet
        .control()
        .value("SELECT count(*) FROM tenants WHERE delete_requested_at > now() - interval '1 hour'")
        .await;
    let most = (usize::try_from(counted).unwrap() + MORE).to_string();
    let bounded = fleet.another_replica(&[("FREEHOLD_DELETIONS_PER_HOUR", &most)], Clock::default()).await;
    let (prefix, ids) = rows(&fleet, 50).await;
    let answers =
        join_all(ids.iter().enumerate().map(|(number, id)| ask(&fleet, &bounded, id, format!("{prefix}-{number}"))))
            .await;
    // Those that are deleted already may be asked for again.
    let again =
        join_all(ids.iter().enumerate().map(|(number, id)| ask(&fleet, &bounded, id, format!("{prefix}-{number}"))))
            .await;
    // Tombstones: replicas would remember rows that are deleted, and `fsck` tell of it in a later test.
    let these = format!("tenants WHERE slug LIKE '{prefix}-%'");
    let bury = format!(
        "DELETE FROM slugs WHERE tenant_id IN (SELECT id FROM {these});
         UPDATE {} ",
        these.replace(" WHERE ", " SET state = 'deleted', erase_after = NULL, state_before_deletion = NULL WHERE ")
    );
    fleet.control().run(&bury).await;
    let through = |answers: &[Answer]| answers.iter().filter(|answer| answer.status() == 200).count();
    assert_eq!((through(&answers), through(&again)), (MORE, MORE));
    let refused = answers.iter().filter(|answer| answer.status() != 200);
    for answer in refused {
        answer.problem(429, "deletion_limit");
        // When the oldest one of the last hour is an hour old: earlier tests have deleted some.
        assert!((1..=3_600).contains(&answer.header("retry-after").parse::<u64>().unwrap()));
    }
}

/// Tenants that exist as rows only: a deletion asks for no more.
async fn rows(fleet: &Fleet, count: usize) -> (String, Vec<String>) {
    let prefix = unique("rows");
    let sql = format!(
        "WITH made AS (
             INSERT INTO tenants (id, slug, name, state, plan, server_id)
             SELECT gen_random_uuid(), '{prefix}-' || n, 'A row', 'active', 'default', s.id
             FROM generate_series(0, {count} - 1) n, servers s WHERE s.name = '{}' RETURNING id, slug
         ), held AS (INSERT INTO slugs (slug, tenant_id) SELECT slug, id FROM made)
         SELECT 'ten_' || replace(id::text, '-', '') FROM made ORDER BY length(slug), slug",
        fleet.server
    );
    let ids = fleet.control().values(&sql).await;
    (prefix, ids)
}

async fn ask(fleet: &Fleet, replica: &Replica, id: &str, slug: String) -> Answer {
    loop {
        let operator = replica.operator(fleet.operator().bearer());
        let answer = operator.post(&path(id, "delete"), &json!({ "confirm": slug })).await;
        if answer.status() != 503 {
            return answer;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
