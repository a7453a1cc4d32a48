//! What a client was told about each tenant that it asked for, held against what there is in the end.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::harness::{actors::Caller, eventually_within, unique};

const TENANTS: &str = "/platform/v1/tenants";

/// How one request ended, as far as its client can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// Acknowledged, with the tenant's id.
    Ok(String),
    /// Refused: nothing may have happened.
    Failed(u16),
    /// No answer, or one that leaves it open.
    Unknown,
}

/// The outcomes by slug. The slug is the `Idempotency-Key` too.
pub(crate) struct Ledger {
    prefix: String,
    outcomes: Mutex<BTreeMap<String, Outcome>>,
}

impl Ledger {
    /// An empty one, for tenants that nobody else makes.
    pub(crate) fn new(name: &str) -> Self {
        Self { prefix: unique(name), outcomes: Mutex::default() }
    }

    /// Asks for tenants of these `numbers` through `operator`, all at once, and notes how that ends.
    pub(crate) async fn ask(&self, operator: &Caller, numbers: std::ops::Range<usize>) {
        futures::future::join_all(numbers.map(|number| self.ask_one(operator, number))).await;
    }

    async fn ask_one(&self, operator: &Caller, number: usize) {
        let slug = format!("{}-{number}", self.prefix);
        let outcome = match operator.post_patiently(TENANTS, &body(&slug), &slug).await {
            Ok(answer) if answer.is_success() => Outcome::Ok(answer.member("id")),
            Ok(answer) if (400..500).contains(&answer.status()) => Outcome::Failed(answer.status()),
            Ok(_) | Err(_) => Outcome::Unknown,
        };
        self.outcomes.lock().unwrap().insert(slug, outcome);
    }

    /// How many of these tenants there are in `state`.
    pub(crate) async fn count(&self, control: &Client, state: &str) -> i64 {
        let sql = "SELECT count(*) FROM tenants WHERE slug LIKE $1 || '-%' AND state = $2";
        control.query_one(sql, &[&self.prefix, &state]).await.unwrap().get(0)
    }

    /// Sends every request again under its key, waits until all tenants serve, and counts damage.
    pub(crate) async fn settle(&self, operator: &Caller, control: &Client, within: Duration) {
        let outcomes = self.outcomes.lock().unwrap().clone();
        let existing = self.existing(control).await;
        let (mut lost, mut phantom, mut duplicate) = (0, 0, 0);
        for (slug, outcome) in &outcomes {
            match (outcome, existing.get(slug)) {
                (Outcome::Ok(id), found) => lost += usize::from(found != Some(id)),
                (Outcome::Failed(_), found) => phantom += usize::from(found.is_some()),
                (Outcome::Unknown, _) => {}
            }
            let again = operator.post_patiently(TENANTS, &body(slug), slug).await.unwrap();
            assert!(again.is_success(), "{slug}: {again:?}");
            let id = again.member("id");
            let told = if let Outcome::Ok(told) = outcome { Some(told) } else { existing.get(slug) };
            duplicate += usize::from(told.is_some_and(|told| *told != id));
        }
        let expected = i64::try_from(outcomes.len()).unwrap();
        eventually_within("all tenants serve", within, async || {
            (self.count(control, "active").await == expected).then_some(())
        })
        .await;
        duplicate += self.existing(control).await.len().saturating_sub(outcomes.len());
        assert_eq!((lost, phantom, duplicate), (0, 0, 0), "lost, phantom, duplicate of {}", outcomes.len());
    }

    /// The ids of these tenants by slug.
    async fn existing(&self, control: &Client) -> BTreeMap<String, String> {
        let sql = "SELECT slug, replace(id::text, '-', '') FROM tenants WHERE slug LIKE $1 || '-%'";
        let rows = control.query(sql, &[&self.prefix]).await.unwrap();
        rows.iter().map(|row| (row.get(0), format!("ten_{}", row.get::<_, String>(1)))).collect()
    }
}

fn body(slug: &str) -> Value {
    json!({ "slug": slug, "name": slug, "admin": { "email": format!("admin@{slug}.example") } })
}

/// Fails the test unless `freehold fsck` (through the API) finds everything in order.
pub(crate) async fn assert_clean(operator: &Caller) {
    // Hundreds of tenants that somebody has just signed in to may take all sessions of a server for a minute.
    let report =
        eventually_within("nothing is under way, and all can be looked at", Duration::from_mins(2), async || {
            let answer = operator.try_get("/platform/v1/fsck").await.ok()?;
            let is_reached = answer.json()["counts"]["unreachable_server"] == 0;
            (answer.status() == 200 && answer.json()["state"] != "busy" && is_reached).then_some(answer.json())
        })
        .await;
    assert_eq!(report["state"], "clean", "{report}");
    assert!(report["counts"].as_object().unwrap().values().all(|count| count == 0), "{report}");
}

/// The operations that `replica` has claimed and not ended.
pub(crate) async fn claimed(control: &Client, replica: &str) -> i64 {
    let sql = "SELECT count(*) FROM operations WHERE state = 'running' AND lease_owner = $1";
    control.query_one(sql, &[&replica]).await.unwrap().get(0)
}
