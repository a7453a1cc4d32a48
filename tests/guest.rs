//! A product in a crate of its own, `tests/guest/`, as a team writes it: built, run and asked from outside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use freehold::types::RESERVED_RESOURCES;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    actors::Caller,
    answer::Answer,
    programs::{Dev, run_as},
    sql::Database,
    unique,
};

const NOTES: &str = "/v1/notes";
const CRATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest");

/// The program of the guest. Built with the features of this suite and in its folder, so that Freehold itself and all
/// that both depend on are there already.
fn built() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--locked", "--package", "guest", "--target-dir"]).arg(target);
    // A team may have a database of its own, which no build of Freehold asks.
    command.env("DATABASE_URL", "postgres://nobody@nowhere.invalid/nothing");
    if cfg!(feature = "crash-points") {
        command.args(["--features", "guest/crash-points"]);
    }
    // What cargo and ops/test tell this test is not meant for another package: it would be built anew for it.
    for (name, _) in std::env::vars_os() {
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "RUSTC_BOOTSTRAP"];
        if own.iter().any(|own| name.to_string_lossy().starts_with(own)) {
            command.env_remove(name);
        }
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
    assert!(status.success(), "the guest cannot be built");
    target.join("debug/guest")
}

/// The database of a tenant, by its id.
fn database(dev: &Dev, tenant: &str) -> Database {
    Database::new(&dev.told("/servers/0/superuser_url").into()).named(&tenant.replace("ten_", "tenant_"))
}

/// Somebody of acme with this role.
async fn member(dev: &Dev, role: &str) -> Caller {
    let (admin, email) = (dev.told("/tenants/0/admin_email"), format!("{role}@acme.example"));
    database(dev, dev.told("/tenants/0/id")).add_user(admin, &email, role).await;
    dev.public().at("acme").sign_in(&email, dev.told("/tenants/0/admin_password")).await
}

async fn note(caller: &Caller) -> (u16, Value) {
    let answer = caller.post(NOTES, &json!({ "text": "Buy milk" })).await;
    (answer.status(), answer.json())
}

async fn notes(caller: &Caller) -> Vec<Value> {
    caller.get(NOTES).await.expect(200)["items"].as_array().unwrap().clone()
}

async fn assert_serves_its_own_routes_alone(dev: &Dev) {
    let document = dev.public().get("/openapi.json").await.json();
    assert_eq!(document["info"]["title"], "Notes tenant API");
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    // What Freehold serves itself beside it lies where no product may.
    let is_reserved = |rest: &str| RESERVED_RESOURCES.contains(&rest.split('/').next().unwrap());
    let own = |path: &&&String| path.strip_prefix("/v1/").is_some_and(|rest| !is_reserved(rest));
    assert_eq!(paths.iter().filter(own).collect::<Vec<_>>(), [&NOTES]);
    let admin = dev.admin_of("acme").await;
    assert_eq!(admin.get("/v1/projects").await.status(), 404);
    let me = admin.get("/v1/auth/me").await.json();
    let permissions = me["permissions"].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
    let own = permissions.filter(|one| !is_reserved(one.split(':').next().unwrap()));
    assert_eq!(own.collect::<Vec<_>>(), ["notes:write"]);
}

async fn assert_roles_and_tenants_are_kept_apart(dev: &Dev) {
    let (viewer, writer) = (member(dev, "viewer").await, member(dev, "member").await);
    let (status, refusal) = note(&viewer).await;
    assert_eq!((status, &refusal["code"]), (403, &json!("forbidden")), "{refusal}");
    assert!(refusal["detail"].as_str().unwrap().contains("notes:write"), "{refusal}");
    let (status, made) = note(&writer).await;
    assert_eq!((status, &made["text"]), (201, &json!("Buy milk")), "{made}");
    assert!(made["id"].as_str().unwrap().starts_with("note_"), "{made}");
    assert_eq!(notes(&viewer).await, [made]);
    assert_eq!(notes(&dev.admin_of("globex").await).await, Vec::<Value>::new());
}

async fn assert_a_clone_has_no_notes(dev: &Dev, acme: &str) {
    let path = format!("/platform/v1/tenants/{acme}/clone");
    let asked = dev.operator().request(Method::POST, &path).header("prefer", "wait=10");
    let clone = Answer::to(asked.json(&json!({ "slug": unique("copy"), "name": "A copy" }))).await.expect(201);
    let notes = "SELECT count(*) FROM notes";
    assert_eq!(database(dev, clone["id"].as_str().unwrap()).value::<i64>(notes).await, 0);
    assert_eq!(database(dev, acme).value::<i64>(notes).await, 1);
}

/// The guest's own program publishes what its team has written since.
async fn publish_a_second_migration(dev: &Dev, program: &Path) {
    let folder = dev.folder().join("migrations");
    fs::create_dir(&folder).unwrap();
    fs::copy(format!("{CRATE}/migrations/V1__notes.sql"), folder.join("V1__notes.sql")).unwrap();
    let sql = "ALTER TABLE notes ADD COLUMN pinned boolean NOT NULL DEFAULT false;";
    fs::write(folder.join("V2__pins.sql"), sql).unwrap();
    let arguments = ["migration", "publish", "--dir", "migrations", "-o", "json"];
    let output = run_as(program, dev.folder(), &arguments, &dev.dev_env(), "").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let published: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(published, json!({ "version": 2, "added": 1 }));
}

/// Cargo builds Freehold once for all tests, so building it beside another database shows something only when it is
/// built anew. What the macros of sqlx are told shows it always.
#[test]
fn no_build_asks_a_database() {
    assert_eq!(option_env!("SQLX_OFFLINE"), Some("true"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crate_of_its_own_is_a_whole_product() {
    let program = tokio::task::spawn_blocking(built).await.unwrap();
    let dev = Dev::start_of(&program, &[]).await;
    let acme = database(&dev, dev.told("/tenants/0/id"));
    let tables = "SELECT schemaname::text FROM pg_tables WHERE tablename IN ('notes', 'projects')";
    assert_eq!(acme.values::<String>(tables).await, ["public"]);
    assert_serves_its_own_routes_alone(&dev).await;
    assert_roles_and_tenants_are_kept_apart(&dev).await;
    assert_a_clone_has_no_notes(&dev, dev.told("/tenants/0/id")).await;

    publish_a_second_migration(&dev, &program).await;
    let slug = unique("initech");
    let made = dev.operator().create_and_wait(&slug).await.unwrap();
    let body = made.json();
    assert_eq!((&body["schema_version"], &body["state"]), (&json!(2), &json!("active")), "{made:?}");
    let columns =
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'notes' AND column_name = 'pinned'";
    assert_eq!(database(&dev, &made.member("id")).value::<i64>(columns).await, 1);
    assert_eq!(acme.value::<i64>(columns).await, 0, "until a rollout");
}
