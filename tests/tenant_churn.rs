//! Names under pressure: clients that make, rename, delete, have back and erase tenants under a few slugs at random.
//! At no moment do two live tenants have one slug, whatever is asked at once; in the end everything agrees.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use freehold::types::{Clock, Random};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    answer::Answer,
    fleet::{self, Fleet},
    replica::Replica,
    unique,
};

const TENANTS: &str = "/platform/v1/tenants";
const CLIENTS: usize = 16;
const SLUGS: usize = 20;
/// The most operations under way at once: more would only wait for the machine.
const BACKLOG: i64 = 24;

/// What a client may be answered with: anything but a defect.
const EXPECTED: [u16; 10] = [200, 201, 202, 404, 409, 410, 412, 422, 429, 503];

fn chance(of: usize) -> usize {
    usize::try_from(u32::from_be_bytes(Random.bytes::<4>())).unwrap() % of
}

/// How often what was answered with which status.
type Answers = BTreeMap<(&'static str, u16), usize>;

/// What clients ask for, those things more often that are possible more rarely.
const WHATS: [&str; 9] = ["create", "rename", "rename", "erase", "delete", "undelete", "undelete", "suspend", "resume"];

struct Churn<'a> {
    fleet: &'a Fleet,
    replica: Replica,
    prefix: String,
    until: Instant,
    is_over: AtomicBool,
}

impl Churn<'_> {
    fn slug(&self) -> String {
        format!("{}-{}", self.prefix, chance(SLUGS))
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let operator = self.replica.operator(self.fleet.operator().bearer());
        Answer::to(operator.request(method, path).json(body)).await
    }

    /// Half of the names are somebody's when it begins.
    async fn begin(&self) {
        for number in 0..SLUGS / 2 {
            let body = json!({ "slug": format!("{}-{number}", self.prefix), "name": "Churn" });
            let made = self.ask(Method::POST, TENANTS, &body).await.expect(202);
            self.fleet.finished(made["operation_id"].as_str().unwrap()).await;
        }
    }

    /// One client: asks for one thing after another, each of whichever tenant has the slug now.
    async fn client(&self) -> Answers {
        let mut answers = BTreeMap::new();
        while Instant::now() < self.until {
            let what = WHATS[chance(WHATS.len())];
            if let Some(answer) = self.once(what).await {
                assert!(EXPECTED.contains(&answer.status()), "{what}: {}", answer.text());
                *answers.entry((what, answer.status())).or_default() += 1;
            }
        }
        answers
    }

    async fn once(&self, what: &str) -> Option<Answer> {
        let slug = self.slug();
        if what == "create" {
            let busy: i64 = self
                .fleet
                .control()
                .value("SELECT count(*) FROM operations WHERE state IN ('queued', 'running')")
                .await;
            if busy > BACKLOG {
                return None;
            }
            return Some(self.ask(Method::POST, TENANTS, &json!({ "slug": slug, "name": "Churn" })).await);
        }
        let found = self.ask(Method::GET, &format!("{TENANTS}/{slug}"), &json!({})).await;
        if found.status() != 200 {
            return Some(found);
        }
        let path = format!("{TENANTS}/{}", found.json()["id"].as_str().unwrap());
        let post = async |action: &str, body: Value| self.ask(Method::POST, &format!("{path}/{action}"), &body).await;
        Some(match what {
            "rename" => self.ask(Method::PATCH, &path, &json!({ "slug": self.slug() })).await,
            "erase" => post("delete", json!({ "confirm": slug, "erase": true })).await,
            "delete" => post("delete", json!({ "confirm": slug })).await,
            "suspend" => post("suspend", json!({ "reason": "churn" })).await,
            action => post(action, json!({})).await,
        })
    }

    /// Asks the control database all the while: how often it was asked.
    async fn watch(&self) -> usize {
        let control = self.fleet.control().connect().await.unwrap();
        let twice = "SELECT slug FROM tenants WHERE state <> 'deleted' GROUP BY slug HAVING count(*) > 1
            UNION ALL SELECT t.slug FROM tenants t WHERE t.state <> 'deleted' AND NOT EXISTS (
                SELECT FROM slugs s WHERE s.slug = t.slug AND s.tenant_id = t.id AND s.expires_at IS NULL)";
        let mut looks = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let found = control.query(twice, &[]).await.unwrap();
            assert!(found.is_empty(), "{}", found[0].get::<_, String>(0));
            looks += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        looks
    }

    async fn run(&self) -> (Answers, usize) {
        let clients = async {
            let answers = futures::future::join_all((0..CLIENTS).map(|_| self.client())).await;
            self.is_over.store(true, Ordering::Relaxed);
            let mut sum = BTreeMap::new();
            for (what, count) in answers.into_iter().flatten() {
                *sum.entry(what).or_default() += count;
            }
            sum
        };
        tokio::join!(clients, self.watch())
    }
}

/// How many deadlocks there were in the control database.
async fn deadlocks(fleet: &Fleet) -> i64 {
    fleet.control().value("SELECT deadlocks FROM pg_stat_database WHERE datname = 'freehold_control'").await
}

async fn churn(time: Duration) {
    // Names pass on at once: no redirection and no reservation keeps clients apart. No other replica works here.
    let fleet = fleet::idle().await;
    let name = unique("churn");
    let changes = [
        ("FREEHOLD_SLUG_REDIRECT_SECONDS", "0"),
        ("FREEHOLD_SLUG_RESERVATION_SECONDS", "0"),
        ("FREEHOLD_OPERATION_CONCURRENCY", "4"),
        ("FREEHOLD_REPLICA", &*name),
    ];
    let before = deadlocks(&fleet).await;
    let replica = fleet.another_replica(&changes, Clock::default()).await;
    let (prefix, is_over) = (unique("churn"), AtomicBool::new(false));
    let mut churn = Churn { fleet: &fleet, replica, prefix, until: Instant::now(), is_over };
    churn.begin().await;
    churn.until = Instant::now() + time;
    let (answers, looks) = churn.run().await;
    assert!(looks > 100, "looked {looks} times only");
    for (what, status) in [("create", 202), ("rename", 200), ("erase", 202), ("delete", 200), ("undelete", 200)] {
        assert!(answers.contains_key(&(what, status)), "nobody got that far: {answers:?}");
    }
    fleet.assert_clean().await;
    // Whoever locks does so in one order.
    assert_eq!(deadlocks(&fleet).await, before, "{}", fleet.deadlocks());
}

#[tokio::test]
async fn twenty_names_under_sixteen_clients_are_never_held_twice() {
    churn(Duration::from_secs(10)).await;
}

#[tokio::test]
#[ignore = "long: ./ops/test --soak"]
async fn twenty_names_under_sixteen_clients_are_never_held_twice_in_two_minutes() {
    churn(Duration::from_mins(2)).await;
}
