//! How one operation of each kind is asked for, and what it leaves when it has ended well or was undone.

use std::{collections::BTreeMap, time::Duration};

use freehold::{
    control::warm_databases::{self, WarmState},
    operations::{
        fleet::{remains, warm},
        schema::publish,
    },
    types::{ServerId, TenantId},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{
    PASSWORD,
    answer::Answer,
    fleet::{Fleet, RUNTIME},
    replica::Replica,
    tenant::new_tenant,
    unique,
};

/// How long all operations that are under way at once may take, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);

/// A kind of operation, as those who ask for it see it.
pub(super) struct Subject {
    /// `tenant.provision`.
    pub(super) kind: &'static str,
    asks: Asks,
    /// The state when it has succeeded, and when it was undone.
    ends: (&'static str, &'static str),
}

/// How an operation comes about.
enum Asks {
    /// Somebody asks for a tenant.
    Creation,
    /// Somebody asks for this of a tenant, after some other things.
    Action(&'static [&'static str], &'static str),
    /// Somebody asks for a tenant like another one.
    Copy,
    /// Somebody asks that a database become a tenant's.
    Adoption,
    /// The keeper of the warm pool makes a database, or takes one away.
    Warm(&'static [&'static str], &'static str),
}

use Asks::{Action, Adoption, Copy, Creation, Warm};

const SUBJECTS: [Subject; 11] = [
    Subject { kind: "tenant.provision", asks: Creation, ends: ("active", "deleted") },
    Subject { kind: "tenant.clone", asks: Copy, ends: ("active", "deleted") },
    Subject { kind: "tenant.adopt", asks: Adoption, ends: ("active", "deleted") },
    Subject { kind: "tenant.archive", asks: Action(&[], "archive"), ends: ("archived", "active") },
    Subject { kind: "tenant.restore", asks: Action(&["archive"], "restore"), ends: ("active", "archived") },
    Subject { kind: "tenant.erase", asks: Action(&[], "delete"), ends: ("deleted", "deleting") },
    Subject { kind: "tenant.rotate_credentials", asks: Action(&[], "rotate-credentials"), ends: ("active", "active") },
    Subject { kind: "tenant.rehearse", asks: Action(&[], "rehearse"), ends: ("active", "active") },
    Subject { kind: "warm.make", asks: Warm(&[], "make"), ends: ("ready", "gone") },
    Subject { kind: "warm.retire", asks: Warm(&["make"], "retire"), ends: ("gone", "ready") },
    // The janitor asks for it, and it is never undone.
    Subject { kind: "remains.clear", asks: Warm(&["make"], "clear"), ends: ("gone", "") },
];

/// One operation that was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) tenant: String,
    pub(super) slug: String,
    pub(super) operation: String,
    /// Its administrator's address.
    admin: String,
}

impl Subject {
    /// The one of this kind.
    pub(super) fn of(kind: &str) -> &'static Self {
        SUBJECTS.iter().find(|subject| subject.kind == kind).unwrap_or_else(|| panic!("nobody asks for a {kind} here"))
    }

    const fn is_warm(&self) -> bool {
        matches!(self.asks, Warm(..))
    }

    /// Makes what `count` of these operations can be asked of; an engine has to be there.
    async fn prepare(&self, fleet: &Fleet, count: usize) -> Vec<Asked> {
        let before = match self.asks {
            Creation | Adoption => return vec![Asked::default(); count],
            Copy => &[],
            Action(before, _) | Warm(before, _) => before,
        };
        let mut ready = vec![Asked::default(); count];
        if !self.is_warm() {
            for made in &mut ready {
                *made = create(fleet).await;
            }
            finished(fleet, &ready).await;
        }
        for action in before {
            for made in &mut ready {
                *made = self.act(fleet, made, action).await;
            }
            finished(fleet, &ready).await;
        }
        ready
    }

    /// Asks for it: of what was prepared, or for one more.
    async fn ask(&self, fleet: &Fleet, ready: &Asked) -> Asked {
        match self.asks {
            Creation => create(fleet).await,
            Adoption => adopt(fleet).await,
            Copy => copy(fleet, ready).await,
            Action(_, action) | Warm(_, action) => self.act(fleet, ready, action).await,
        }
    }

    async fn act(&self, fleet: &Fleet, made: &Asked, action: &'static str) -> Asked {
        match self.asks {
            Warm(..) => warm(fleet, &made.tenant, action).await,
            Creation | Adoption | Copy | Action(..) => {
                Asked { operation: act(fleet, made, action).await, ..made.clone() }
            }
        }
    }

    /// Holds what the operation was about against what it should be by now.
    pub(super) async fn assert_ended(&self, fleet: &Fleet, asked: &Asked, is_undone: bool) {
        let expected = if is_undone { self.ends.1 } else { self.ends.0 };
        let state = if self.is_warm() {
            let sql = format!("SELECT state FROM warm_databases WHERE id = '{}'", asked.tenant.replace("ten_", ""));
            fleet.control().values(&sql).await.pop().unwrap_or_else(|| "gone".to_owned())
        } else {
            let path = format!("/platform/v1/tenants/{}", asked.tenant);
            let tenant = patiently(fleet, Method::GET, &path, &json!({})).await.expect(200);
            tenant["state"].as_str().unwrap().to_owned()
        };
        assert_eq!(state, expected, "{}: {asked:?}", self.kind);
        if expected == "active" {
            let tokens = fleet.replica.anonymous(&asked.slug).login(&asked.admin, PASSWORD).await.expect(200);
            let admin = fleet.replica.member(&asked.slug, &tokens["access_token"].as_str().unwrap().into());
            admin.post("/v1/projects", &json!({ "name": "Still here" })).await.expect(201);
        }
    }

    /// Takes away what would make later operations shorter: a tenant that finds a warm database needs no steps.
    pub(super) async fn clean(fleet: &Fleet) {
        let sql = "SELECT 'ten_' || replace(id::text, '-', '') FROM warm_databases WHERE state = 'ready'";
        let mut retiring = Vec::new();
        for ready in fleet.control().values::<String>(sql).await {
            retiring.push(warm(fleet, &ready, "retire").await);
        }
        if !retiring.is_empty() {
            let engine = engine(fleet).await;
            finished(fleet, &retiring).await;
            engine.stop().await;
        }
    }
}

/// Asks for an operation of each of these kinds, of something of its own, and leaves them queued.
pub(super) async fn ask_each(fleet: &Fleet, kinds: &[&'static str]) -> Vec<Asked> {
    let mut counts = BTreeMap::<_, usize>::new();
    for kind in kinds {
        *counts.entry(*kind).or_default() += 1;
    }
    // A warm database that is ready would be given to the next tenant: they are made last, and asked for first.
    let engine = engine(fleet).await;
    let mut ready = BTreeMap::new();
    for is_warm in [false, true] {
        for (kind, count) in counts.iter().filter(|(kind, _)| Subject::of(kind).is_warm() == is_warm) {
            ready.insert(*kind, Subject::of(kind).prepare(fleet, *count).await);
        }
    }
    engine.stop().await;
    let mut asked = vec![Asked::default(); kinds.len()];
    for is_warm in [true, false] {
        for (kind, asked) in kinds.iter().zip(&mut asked).filter(|(kind, _)| Subject::of(kind).is_warm() == is_warm) {
            let ready = ready.get_mut(kind).and_then(Vec::pop).expect("as many as operations");
            *asked = Subject::of(kind).ask(fleet, &ready).await;
        }
    }
    asked
}

/// Waits until all of these operations have succeeded.
async fn finished(fleet: &Fleet, operations: &[Asked]) {
    for asked in operations {
        fleet.finished(&asked.operation).await;
    }
}

/// Queues what the keeper would: the making of a database, or the end of this one; or what the janitor would, were it
/// left to itself.
async fn warm(fleet: &Fleet, id: &str, action: &str) -> Asked {
    let ctx = fleet.replica.app().operations().clone();
    let sql = format!("SELECT id FROM servers WHERE name = '{}'", fleet.server);
    let server = ServerId::from_uuid(fleet.control().value(&sql).await);
    let made = (action != "make").then(|| id.parse::<TenantId>().unwrap());
    let leaked = action == "clear";
    let queue = async move {
        let mut txn = ctx.db.begin().await.unwrap();
        let operation = if let (Some(id), true) = (made, leaked) {
            warm_databases::set_state(&mut txn, id, WarmState::Retiring).await.unwrap();
            remains::queue_in_txn(&ctx, &mut txn, id, server).await.unwrap()
        } else if let Some(id) = made {
            warm::retire_in_txn(&ctx, &mut txn, id, server).await.unwrap().expect("it is ready")
        } else {
            let newest = publish::newest(&ctx.memory, &mut txn).await.unwrap();
            warm::make_in_txn(&ctx, &mut txn, server, &newest).await.unwrap()
        };
        txn.commit().await.unwrap();
        operation
    };
    let operation = RUNTIME.spawn(queue).await.unwrap().to_string();
    let sql = format!("SELECT tenant_id FROM operations WHERE id = '{}'", operation.replace("op_", ""));
    let tenant = TenantId::from_uuid(fleet.control().value(&sql).await).to_string();
    Asked { tenant, operation, ..Asked::default() }
}

/// One more replica, which works on operations until it is dropped.
pub(crate) async fn engine(fleet: &Fleet) -> Replica {
    engine_with(fleet, &[]).await
}

/// The same with the pauses between attempts that people have: time to put the next attempt off.
pub(super) async fn slow_engine(fleet: &Fleet) -> Replica {
    engine_with(fleet, &[("FREEHOLD_TEST_PACE_MILLIS", "0")]).await
}

async fn engine_with(fleet: &Fleet, changes: &[(&str, &str)]) -> Replica {
    let name = unique("engine");
    let mut settings = vec![("FREEHOLD_OPERATION_CONCURRENCY", "8"), ("FREEHOLD_REPLICA", name.as_str())];
    settings.extend(changes);
    fleet.another_replica(&settings, freehold::types::Clock::default()).await
}

pub(super) async fn create(fleet: &Fleet) -> Asked {
    let slug = unique("crash");
    let made = patiently(fleet, Method::POST, "/platform/v1/tenants", &new_tenant(&slug)).await.expect(202);
    asked(&made, format!("admin@{slug}.example.com"))
}

/// A database of somebody else's that becomes a tenant's.
async fn adopt(fleet: &Fleet) -> Asked {
    let slug = unique("crash");
    let body = crate::adoption::foreign(fleet, &slug).await;
    let made = patiently(fleet, Method::POST, "/platform/v1/adoptions", &body).await.expect(202);
    asked(&made, format!("admin@{slug}.example.com"))
}

/// A new tenant with the rows of this one.
async fn copy(fleet: &Fleet, source: &Asked) -> Asked {
    let path = format!("/platform/v1/tenants/{}/clone", source.tenant);
    let body = json!({ "slug": unique("crash"), "name": "A copy" });
    let made = patiently(fleet, Method::POST, &path, &body).await.expect(202);
    asked(&made, source.admin.clone())
}

fn asked(made: &Value, admin: String) -> Asked {
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    Asked { tenant: text("id"), slug: text("slug"), operation: text("operation_id"), admin }
}

/// Asks `action` of the tenant; the operation that does it.
async fn act(fleet: &Fleet, tenant: &Asked, action: &str) -> String {
    let body: Value = if action == "delete" { json!({ "confirm": tenant.slug, "erase": true }) } else { json!({}) };
    let path = format!("/platform/v1/tenants/{}/{action}", tenant.tenant);
    let answer = patiently(fleet, Method::POST, &path, &body).await.expect(202);
    answer["operation_id"].as_str().unwrap().to_owned()
}

/// Those of the operations that have failed and wait for their next attempt. It is put off, however slow the machine
/// is: a cancellation that came after it would be too late.
pub(super) async fn hold(fleet: &Fleet, operations: &[String]) -> Vec<String> {
    let ids: Vec<_> = operations.iter().map(|operation| format!("'{}'", operation.replace("op_", ""))).collect();
    let sql = format!(
        "UPDATE operations SET run_after = now() + interval '1 hour'
          WHERE state = 'queued' AND error IS NOT NULL AND cancel_requested_at IS NULL AND id IN ({})
         RETURNING 'op_' || replace(id::text, '-', '')",
        ids.join(",")
    );
    fleet.control().values(&sql).await
}

/// The state that the operation ended in.
pub(super) async fn settled(fleet: &Fleet, asked: &Asked) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let path = format!("/platform/v1/operations/{}", asked.operation);
        let operation = patiently(fleet, Method::GET, &path, &json!({})).await.expect(200);
        let state = operation["state"].as_str().unwrap();
        assert!(state != "blocked" && Instant::now() < deadline, "{operation}");
        if !matches!(state, "queued" | "running") {
            return state.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks for the operation's undoing.
pub(super) async fn cancel(fleet: &Fleet, operation: &str) {
    patiently(fleet, Method::POST, &format!("/platform/v1/operations/{operation}/cancel"), &json!({}))
        .await
        .expect(202);
}

/// Asks again while there is too much to do for a small machine: told to come back, one comes back.
async fn patiently(fleet: &Fleet, method: Method, path: &str, body: &Value) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = Answer::to(fleet.operator().request(method.clone(), path).json(body)).await;
        if answer.status() != 503 || Instant::now() > deadline {
            return answer;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Has an engine do everything that was asked for.
pub(super) async fn work_off(fleet: &Fleet) {
    let live = "SELECT count(*) FROM operations WHERE state IN ('queued', 'running', 'blocked')";
    if fleet.control().value::<i64>(live).await == 0 {
        return;
    }
    let engine = engine(fleet).await;
    let deadline = Instant::now() + PATIENCE;
    while fleet.control().value::<i64>(live).await > 0 {
        assert!(Instant::now() < deadline, "operations do not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    engine.stop().await;
}
