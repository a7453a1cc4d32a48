//! Rollouts: the published migrations carried to the tenants that exist, wave by wave, with proof.
//!
//! Each test has a Freehold for itself, and begins with all its tenants at the newest versions ([`settled`]): what
//! earlier tests published and made stays there.

mod before;
mod control;
#[cfg(feature = "crash-points")]
mod crashes;
mod exceptions;
mod faults;
mod rehearsal;
mod releases;
mod replicas;
mod stranding;
mod undo;
mod waves;

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    harness::{
        eventually_within,
        fleet::{self, Fleet},
        pool::Own,
        sql::Database,
        unique,
    },
    migrations::{MIGRATIONS, published, set},
};

const ROLLOUTS: &str = "/platform/v1/rollouts";
/// How long a rollout may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A tenant without people.
struct Plain {
    id: String,
    slug: String,
}

impl Plain {
    fn database(&self, fleet: &Fleet) -> Database {
        fleet.on_server(&self.id.replace("ten_", "tenant_"))
    }

    /// What the API says of it.
    async fn seen(&self, fleet: &Fleet) -> Value {
        fleet.patiently(&format!("/platform/v1/tenants/{}", self.id), 0).await
    }
}

/// A Freehold whose tenants are all at the newest versions.
async fn settled() -> Own {
    let fleet = fleet::rolling().await;
    settle(&fleet).await;
    fleet
}

/// Takes all tenants to the newest versions.
async fn settle(fleet: &Fleet) {
    let id = start(fleet, &json!({ "waves": ["100%"] })).await;
    let rollout = ended(fleet, &id).await;
    let failed = fleet.patiently(&format!("{ROLLOUTS}/{id}/tenants?state=failed"), 0).await;
    assert_eq!(rollout["state"], "succeeded", "{rollout}: {failed}");
}

/// So many new tenants.
async fn plain(fleet: &Fleet, count: usize) -> Vec<Plain> {
    let make = async || {
        let slug = unique("rolled");
        let made = fleet.create(&json!({ "slug": slug, "name": "A tenant" })).await;
        assert!(matches!(made.status(), 201 | 202), "{}", made.text());
        let made = made.json();
        fleet.finished(made["operation_id"].as_str().unwrap()).await;
        Plain { id: made["id"].as_str().unwrap().to_owned(), slug }
    };
    let mut tenants = Vec::with_capacity(count);
    for _ in 0..count.div_ceil(4) {
        tenants.extend(join_all((0..4.min(count - tenants.len())).map(|_| make())).await);
    }
    tenants
}

/// Publishes one more file of the product; its version.
async fn publish(fleet: &Fleet, sql: &str) -> i32 {
    let files = published(fleet).await;
    let next = files.len() + 1;
    let name = unique("change").replace('-', "_");
    let extended = set(&files, &format!("V{next}__{name}.sql"), sql);
    fleet.operator().post(MIGRATIONS, &extended).await.expect(200);
    i32::try_from(next).unwrap()
}

/// Publishes one more file of the product, and its way back; its version.
async fn publish_with_undo(fleet: &Fleet, sql: &str, undo: &str) -> i32 {
    let mut files = published(fleet).await;
    let (next, name) = (files.len() + 1, unique("change").replace('-', "_"));
    files.push(json!({ "name": format!("V{next}__{name}.sql"), "sql": sql }));
    files.push(json!({ "name": format!("U{next}__{name}.sql"), "sql": undo }));
    fleet.operator().post(MIGRATIONS, &json!({ "files": files })).await.expect(200);
    i32::try_from(next).unwrap()
}

/// A name for a table or a column that no other test has.
fn name(of: &str) -> String {
    unique(of).replace('-', "_")
}

/// Starts a rollout; its id.
async fn start(fleet: &Fleet, body: &Value) -> String {
    let started = fleet.operator().post(ROLLOUTS, body).await.expect(202);
    started["id"].as_str().unwrap().to_owned()
}

/// The rollout as it is now.
async fn look(fleet: &Fleet, id: &str) -> Value {
    fleet.patiently(&format!("{ROLLOUTS}/{id}"), 0).await
}

/// The rollout once nothing of it is under way any more.
async fn ended(fleet: &Fleet, id: &str) -> Value {
    eventually_within("the end of a rollout", PATIENCE, async || {
        let rollout = look(fleet, id).await;
        let goes_on = matches!(rollout["state"].as_str().unwrap(), "planned" | "running");
        (!goes_on && rollout["counts"]["running"] == 0).then_some(rollout)
    })
    .await
}

/// The rollout's part of one tenant.
async fn member(fleet: &Fleet, rollout: &str, tenant: &Plain) -> Value {
    let mut cursor = String::new();
    loop {
        let path = format!("{ROLLOUTS}/{rollout}/tenants?limit=200{cursor}");
        let page = fleet.patiently(&path, 0).await;
        if let Some(found) = page["items"].as_array().unwrap().iter().find(|item| item["tenant_id"] == *tenant.id) {
            return found.clone();
        }
        let next = page["next_cursor"].as_str().unwrap_or_else(|| panic!("{} is not in it", tenant.slug));
        cursor = format!("&cursor={next}");
    }
}

/// Posts an operator's wish.
async fn ask(fleet: &Fleet, id: &str, verb: &str, body: &Value) -> Value {
    fleet.operator().post(&format!("{ROLLOUTS}/{id}/{verb}"), body).await.expect(202)
}

/// Whether nothing is left of a rollout on the server: logins, sessions, and places.
async fn assert_nothing_is_left(fleet: &Fleet) {
    let server = fleet.on_server("postgres");
    let left = "SELECT (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'freehold_rollout_%')
                     + (SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'freehold:%:rol_%')";
    eventually_within("the crews to leave", Duration::from_secs(20), async || {
        (server.value::<i64>(left).await == 0).then_some(())
    })
    .await;
}
