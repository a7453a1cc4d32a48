//! How one operation of each kind is asked for, and what it leaves when it has ended well or was undone.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{PASSWORD, answer::Answer, fleet::Fleet, replica::Replica, tenant::new_tenant, unique};

/// How long all operations of one kind may take: most wait out a pause of a second, some of two.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// A kind of operation, as those who ask for it see it.
pub(super) struct Subject {
    /// `tenant.provision`.
    pub(super) kind: &'static str,
    /// What is asked of a new tenant, one after another, before the operation can be; none when the operation makes it.
    before: Option<&'static [&'static str]>,
    /// What asks for the operation: a path below the tenant.
    asks: &'static str,
    /// The tenant's state when it has succeeded, and when it was undone.
    ends: (&'static str, &'static str),
}

const SUBJECTS: [Subject; 2] = [
    Subject { kind: "tenant.provision", before: None, asks: "", ends: ("active", "deleted") },
    Subject { kind: "tenant.erase", before: Some(&[]), asks: "delete", ends: ("deleted", "deleting") },
];

/// One operation that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) tenant: String,
    pub(super) slug: String,
    pub(super) operation: String,
}

impl Subject {
    /// The one of this kind.
    pub(super) fn of(kind: &str) -> &'static Self {
        SUBJECTS.iter().find(|subject| subject.kind == kind).unwrap_or_else(|| panic!("nobody asks for a {kind} here"))
    }

    /// Makes `count` tenants that the operation can be asked of, with the help of an engine, if it needs any.
    pub(super) async fn prepare(&self, fleet: &Fleet, count: usize) -> Vec<Asked> {
        let Some(before) = self.before else { return Vec::new() };
        let engine = engine(fleet).await;
        let mut ready = Vec::new();
        for _ in 0..count {
            let made = create(fleet).await;
            fleet.finished(&made.operation).await;
            for action in before {
                let asked = act(fleet, &made, action).await;
                fleet.finished(&asked).await;
            }
            ready.push(made);
        }
        engine.stop().await;
        ready
    }

    /// Asks for it: of the next of those who are `ready`, or for one more.
    pub(super) async fn ask(&self, fleet: &Fleet, ready: &mut Vec<Asked>) -> Asked {
        if self.before.is_none() {
            return create(fleet).await;
        }
        let tenant = ready.pop().expect("as many tenants as operations");
        let operation = act(fleet, &tenant, self.asks).await;
        Asked { operation, ..tenant }
    }

    /// Holds the tenant against what it should be by now.
    pub(super) async fn assert_ended(&self, fleet: &Fleet, asked: &Asked, is_undone: bool) {
        let tenant = fleet.operator().get(&format!("/platform/v1/tenants/{}", asked.tenant)).await.expect(200);
        let expected = if is_undone { self.ends.1 } else { self.ends.0 };
        assert_eq!(tenant["state"], expected, "{}: {tenant}", self.kind);
        if expected == "active" {
            let email = format!("admin@{}.example.com", asked.slug);
            let tokens = fleet.replica.anonymous(&asked.slug).login(&email, PASSWORD).await.expect(200);
            let admin = fleet.replica.member(&asked.slug, &tokens["access_token"].as_str().unwrap().into());
            admin.post("/v1/projects", &json!({ "name": "Still here" })).await.expect(201);
        }
    }
}

/// One more replica, which works on operations until it is dropped.
pub(crate) async fn engine(fleet: &Fleet) -> Replica {
    let name = unique("engine");
    let changes = [("FREEHOLD_OPERATION_CONCURRENCY", "8"), ("FREEHOLD_REPLICA", name.as_str())];
    fleet.another_replica(&changes, freehold::types::Clock::default()).await
}

async fn create(fleet: &Fleet) -> Asked {
    let slug = unique("crash");
    let made = fleet.operator().post("/platform/v1/tenants", &new_tenant(&slug)).await.expect(202);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    Asked { tenant: text("id"), operation: text("operation_id"), slug }
}

/// Asks `action` of the tenant; the operation that does it.
async fn act(fleet: &Fleet, tenant: &Asked, action: &str) -> String {
    let body: Value = if action == "delete" { json!({ "confirm": tenant.slug, "erase": true }) } else { json!({}) };
    let path = format!("/platform/v1/tenants/{}/{action}", tenant.tenant);
    let answer = Answer::to(fleet.operator().request(Method::POST, &path).json(&body)).await.expect(202);
    answer["operation_id"].as_str().unwrap().to_owned()
}

/// The state that the operation ended in.
pub(super) async fn settled(fleet: &Fleet, asked: &Asked) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let path = format!("/platform/v1/operations/{}", asked.operation);
        let answer = fleet.operator().get(&path).await;
        if answer.status() == 503 {
            // Everything at once is a lot for a small machine: told to come back, one comes back.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        let operation = answer.expect(200);
        let state = operation["state"].as_str().unwrap();
        assert!(state != "blocked" && Instant::now() < deadline, "{operation}");
        if !matches!(state, "queued" | "running") {
            return state.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Fails unless everything agrees.
pub(super) async fn assert_clean(fleet: &Fleet) {
    let report = fleet.operator().get("/platform/v1/fsck").await.expect(200);
    assert_eq!(report["state"], "clean", "{report}");
}
