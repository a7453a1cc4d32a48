//! The rows of a tenant that cannot be woken: the cause is named, and whoever may export the archive has them all.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    archives::{Desk, contents},
    archiving::{ask, done, failed, fill, objects, path, state},
    harness::{
        actors::Operator,
        fleet::{self, Fleet},
        tenant::Tenant,
        unique,
    },
};

/// The answer's content type, and its bytes or how they ended.
async fn export(operator: &Operator, tenant: &Tenant<'_>) -> (String, reqwest::Result<Vec<u8>>) {
    let response = operator.request(Method::POST, &path(tenant, "archives/export")).send().await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    (kind, response.bytes().await.map(Vec::from))
}

async fn exports(fleet: &Fleet, tenant: &Tenant<'_>) -> Vec<Value> {
    let events = fleet.patiently(&format!("/platform/v1/audit-events?target={}", tenant.id), 0).await;
    let events = events["items"].as_array().unwrap();
    events.iter().filter(|event| event["action"] == "archive.export").cloned().collect()
}

#[tokio::test]
async fn an_archive_that_cannot_be_restored_is_named_and_its_rows_are_had_all_the_same() {
    let fleet = fleet::shared().await;
    let (tenant, canary, desk) = (fleet.tenant().await, unique("canary"), Desk::of(fleet).await);
    let operator = fleet.operator_with_role("admin").await;
    operator.post(&path(&tenant, "archives/export"), &json!({})).await.problem(404, "archive_not_found");
    fill(&tenant, &canary).await;
    // A role of the whole server: the archive grants it a right, and it is gone when the tenant is to be woken.
    let (server, (role, _)) = (fleet.on_server("postgres"), fleet.on_server("postgres").add_role("").await);
    tenant.database().run(&format!("SET ROLE freehold_owner; GRANT SELECT ON projects TO {role}")).await;
    let before = contents(&tenant.database()).await;
    done(fleet, &tenant, "archive").await;
    server.run(&format!("DROP ROLE {role}")).await;

    let operation = failed(fleet, &ask(fleet, &tenant, "restore").await).await;
    let error = operation["error"].as_str().unwrap();
    assert!(error.starts_with("not_restorable: ") && error.contains("GRANT ON TABLE public.projects"), "{error}");
    assert!(!error.contains(&canary), "{error}");
    let steps = operation["steps"].as_array().unwrap();
    let restoring = steps.iter().find(|step| step["name"] == "restore_database").unwrap();
    // Once forwards, and once when it was undone.
    assert_eq!(restoring["attempts"], 2, "{operation}");
    assert_eq!(state(fleet, &tenant).await, "archived");

    let (kind, dump) = export(&operator, &tenant).await;
    let dump = dump.unwrap();
    assert_eq!((kind.as_str(), &dump[..5]), ("application/octet-stream", &b"PGDMP"[..]));
    let listed = desk.listed(&dump).await;
    for table in ["public projects", "public tasks", "freehold users"] {
        assert!(listed.contains(&format!("TABLE DATA {table} ")), "{listed}");
    }
    let told = exports(fleet, &tenant).await;
    let archive = fleet.patiently(&path(&tenant, "archives"), 0).await["items"][0]["id"].clone();
    assert!(matches!(&told[..], [event] if event["details"] == json!({ "archive_id": archive })), "{told:?}");

    server.run(&format!("CREATE ROLE {role}")).await;
    done(fleet, &tenant, "restore").await;
    assert_eq!(contents(&tenant.database()).await, before);
    tenant.database().run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_damaged_archive_is_no_whole_export() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    // What does not compress away is several pieces long.
    let rows = "INSERT INTO projects (id, name, description) SELECT gen_random_uuid(), n::text,
        (SELECT string_agg(md5(random()::text || n || m), '') FROM generate_series(1, 100) m) FROM generate_series(1, 2000) n";
    tenant.database().run(rows).await;
    done(fleet, &tenant, "archive").await;
    let file = objects(fleet, &tenant).remove(0);
    let good = fs::read(&file).unwrap();
    let damage = |at: usize| {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        fs::write(&file, damaged).unwrap();
    };
    damage(good.len() - 10);
    let (_, cut) = export(&fleet.operator(), &tenant).await;
    assert!(cut.is_err(), "half of a dump passes for a whole one");
    damage(100);
    let refused = fleet.operator().post(&path(&tenant, "archives/export"), &json!({})).await;
    refused.problem(409, "archive_damaged");
    assert_eq!(exports(fleet, &tenant).await.len(), 1, "what gives nothing away is no export");
    fs::write(&file, &good).unwrap();
    assert!(export(&fleet.operator(), &tenant).await.1.unwrap().starts_with(b"PGDMP"));
    done(fleet, &tenant, "restore").await;
    // The archive that a tenant was woken from is there until the next one.
    assert!(export(&fleet.operator(), &tenant).await.1.is_ok());
    let body = json!({ "confirm": tenant.slug });
    fleet.operator().post(&path(&tenant, "delete"), &body).await.expect(200);
    let gone = fleet.operator().post(&path(&tenant, "archives/export"), &json!({})).await;
    gone.problem(410, "tenant_gone");
}
