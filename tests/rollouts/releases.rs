//! A column is replaced by another one while two releases serve, each of its own mind: nobody is refused anything.
//!
//! | release | reads and writes | meets |
//! |---|---|---|
//! | first | `text` | the table as it was made, and with both columns |
//! | second | `body` | both columns, and `body` alone |
//! | third | `body` | `body` alone, from its first request on |

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{extract::State, http::StatusCode};
use freehold::{
    Product,
    error::Result,
    http::{
        Routes,
        extract::{Json, SignedIn},
    },
    tenancy::{Statements as _, Tenancy},
};
use futures::future::join_all;
use serde_json::{Value, json};
use utoipa_axum::routes;

use super::{publish, settle, settled};
use crate::{
    harness::{actors::Member, answer::Answer, fleet::Fleet, is_soak, replica::Replica, tenant::Tenant},
    migrations::published,
};

const PATH: &str = "/v1/memos";
/// How many clients ask at once, in the long run and else: a backfill pauses while requests wait for a connection, so that
/// a crowd holds it up for as long as a busy machine is behind.
const CLIENTS: (usize, usize) = (8, 3);

async fn last(tenancy: &Tenancy, caller: &SignedIn, sql: &'static str) -> Result<Json<Value>> {
    let conn = tenancy.connect(caller.tenant.id).await?;
    let rows = conn.rows(sql, &[]).await?;
    let read = |row: &tokio_postgres::Row| row.try_get::<_, String>("said");
    Ok(Json(json!({ "items": rows.iter().map(read).collect::<Result<Vec<_>, _>>()? })))
}

async fn keep(tenancy: &Tenancy, caller: &SignedIn, sql: &'static str) -> Result<StatusCode> {
    let conn = tenancy.connect(caller.tenant.id).await?;
    conn.run(sql, &[&"a memo"]).await?;
    Ok(StatusCode::CREATED)
}

#[utoipa::path(get, path = PATH, operation_id = "list_memos", responses((status = 200)))]
async fn list_of_text(caller: SignedIn, State(tenancy): State<Tenancy>) -> Result<Json<Value>> {
    last(&tenancy, &caller, "SELECT text AS said FROM memos ORDER BY id DESC LIMIT 5").await
}

#[utoipa::path(post, path = PATH, operation_id = "create_memo", responses((status = 201)))]
async fn create_of_text(caller: SignedIn, State(tenancy): State<Tenancy>) -> Result<StatusCode> {
    keep(&tenancy, &caller, "INSERT INTO memos (text) VALUES ($1)").await
}

#[utoipa::path(get, path = PATH, operation_id = "list_memos", responses((status = 200)))]
async fn list_of_body(caller: SignedIn, State(tenancy): State<Tenancy>) -> Result<Json<Value>> {
    last(&tenancy, &caller, "SELECT body AS said FROM memos ORDER BY id DESC LIMIT 5").await
}

#[utoipa::path(post, path = PATH, operation_id = "create_memo", responses((status = 201)))]
async fn create_of_body(caller: SignedIn, State(tenancy): State<Tenancy>) -> Result<StatusCode> {
    keep(&tenancy, &caller, "INSERT INTO memos (body) VALUES ($1)").await
}

/// A release with all that is published, which works from the newest version on.
async fn release(fleet: &Fleet, routes: Routes) -> Product {
    let files = published(fleet).await;
    let leaked = |file: &Value, member: &str| -> &'static str { file[member].as_str().unwrap().to_owned().leak() };
    let migrations: Vec<_> = files.iter().map(|file| (leaked(file, "name"), leaked(file, "sql"))).collect();
    Product { routes, oldest_version: i32::try_from(files.len()).unwrap(), migrations, ..freehold::product::product() }
}

/// Who asks without a pause while releases come and go, and what was answered.
struct Crowd {
    /// For each tenant, its administrator at each replica that serves at the moment.
    doors: RwLock<Vec<Vec<Member>>>,
    is_over: AtomicBool,
    asked: AtomicUsize,
}

impl Crowd {
    /// Asks until it is over: each client one request after another, reads and writes by turns.
    async fn ask(self: Arc<Self>, client: usize) -> BTreeMap<u16, usize> {
        let mut answers = BTreeMap::new();
        let mut turn = client;
        while !self.is_over.load(Ordering::Relaxed) {
            let member = {
                let doors = self.doors.read().unwrap();
                let of_tenant = &doors[turn % doors.len()];
                of_tenant[turn / doors.len() % of_tenant.len()].clone()
            };
            let answer: Answer =
                if turn.is_multiple_of(2) { member.get(PATH).await } else { member.post(PATH, &json!({})).await };
            *answers.entry(answer.status()).or_default() += 1;
            self.asked.fetch_add(1, Ordering::Relaxed);
            turn += 7;
        }
        answers
    }

    /// Waits until so many more were answered.
    async fn goes_on(&self, more: usize) {
        let until = self.asked.load(Ordering::Relaxed) + more;
        while self.asked.load(Ordering::Relaxed) < until {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

fn doors(tenants: &[Tenant<'_>], replicas: &[&Replica]) -> Vec<Vec<Member>> {
    let of_tenant = |tenant: &Tenant<'_>| {
        replicas.iter().map(|replica| replica.member(&tenant.slug, tenant.admin.bearer())).collect()
    };
    tenants.iter().map(of_tenant).collect()
}

/// The answers of all clients together.
fn all_of(clients: impl Iterator<Item = BTreeMap<u16, usize>>) -> BTreeMap<u16, usize> {
    let mut all = BTreeMap::new();
    for (status, count) in clients.flatten() {
        *all.entry(status).or_default() += count;
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_is_replaced_while_two_releases_serve_and_no_request_fails() {
    let (requests, count) = if is_soak() { (100_000, CLIENTS.0) } else { (3_000, CLIENTS.1) };
    let fleet = settled().await;
    publish(&fleet, "CREATE TABLE memos (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text NOT NULL)")
        .await;
    settle(&fleet).await;
    let text = Routes::new().routes(routes!(list_of_text, create_of_text));
    let body = || Routes::new().routes(routes!(list_of_body, create_of_body));
    let tenants = [fleet.tenant().await, fleet.tenant().await, fleet.tenant().await];
    let first = fleet.replica_of(release(&fleet, text).await).await;
    let crowd = Arc::new(Crowd {
        doors: RwLock::new(doors(&tenants, &[&first])),
        is_over: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
    });
    let clients: Vec<_> = (0..count).map(|client| tokio::spawn(Arc::clone(&crowd).ask(client))).collect();
    crowd.goes_on(requests / 10).await;

    // Expand: both columns, kept alike, and rows of before filled.
    let both = "ALTER TABLE memos ADD COLUMN body text, ALTER COLUMN text DROP NOT NULL;
        CREATE FUNCTION memos_alike() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$ BEGIN
            NEW.text := coalesce(NEW.text, NEW.body); NEW.body := coalesce(NEW.body, NEW.text); RETURN NEW;
        END $$;
        -- freehold:allow add-trigger: the release before reads and writes what it always has
        CREATE TRIGGER memos_alike BEFORE INSERT OR UPDATE ON memos FOR EACH ROW EXECUTE FUNCTION memos_alike()";
    publish(&fleet, both).await;
    let fill = "-- freehold:batched
        UPDATE memos SET body = text WHERE id IN (SELECT id FROM memos WHERE body IS NULL LIMIT $1)";
    let filled = publish(&fleet, fill).await;
    settle(&fleet).await;
    crowd.goes_on(requests / 10).await;
    let second = fleet.replica_of(release(&fleet, body()).await).await;
    *crowd.doors.write().unwrap() = doors(&tenants, &[&first, &second]);
    crowd.goes_on(requests * 3 / 10).await;
    *crowd.doors.write().unwrap() = doors(&tenants, &[&second]);
    crowd.goes_on(count * 2).await;
    first.stop().await;

    // Contract: no release that runs uses the old column. (The fleet's own replica has no such route at all.)
    let away = format!(
        "-- freehold:contract oldest=1 backfill={filled}
         DROP TRIGGER memos_alike ON memos;
         -- freehold:allow drop-object: only the trigger used it
         DROP FUNCTION memos_alike();
         -- freehold:allow drop-column: no release uses it
         ALTER TABLE memos DROP COLUMN text"
    );
    publish(&fleet, &away).await;
    settle(&fleet).await;
    crowd.goes_on(requests / 10).await;
    let third = fleet.replica_of(release(&fleet, body()).await).await;
    *crowd.doors.write().unwrap() = doors(&tenants, &[&second, &third]);
    let left = requests.saturating_sub(crowd.asked.load(Ordering::Relaxed));
    crowd.goes_on(left.max(requests / 10)).await;
    crowd.is_over.store(true, Ordering::Relaxed);

    let answers = all_of(join_all(clients).await.into_iter().map(Result::unwrap));
    writeln!(io::stderr(), "answers by status while a column was replaced: {answers:?}").unwrap();
    assert!(answers.keys().all(|status| matches!(status, 200 | 201)), "{answers:?}");
    assert!(answers.values().sum::<usize>() >= requests, "{answers:?}");
    let mut written = 0;
    for tenant in &tenants {
        written += tenant.database().value::<i64>("SELECT count(*) FROM memos WHERE body = 'a memo'").await;
    }
    assert_eq!(usize::try_from(written).unwrap(), answers[&201], "each memo is there once, whoever wrote it");
    fleet.assert_clean().await;
}
