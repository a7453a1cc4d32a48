//! The control database: its pool keeps connections and never hands one on inside a transaction; housekeeping
//! forgets what is old and keeps what is still needed.

use freehold::control::{ControlDb, Settings, idempotency};
use sqlx::Row;

use crate::harness::fleet::{self, Fleet};

/// A pool of one connection, of the test's own.
fn pool(fleet: &Fleet) -> ControlDb {
    let url: url::Url = fleet.setting("FREEHOLD_CONTROL_URL").parse().unwrap();
    ControlDb::new(&Settings {
        host: "127.0.0.1".into(),
        port: url.port().unwrap(),
        role: url.username().into(),
        password: url.password().unwrap().into(),
        database: url.path().trim_start_matches('/').into(),
        verify_tls: false,
        ca_file: None,
        max_connections: 1,
        application_name: "freehold:test".into(),
    })
}

/// The session behind the pool's only connection.
async fn session(db: &ControlDb) -> i32 {
    let mut connection = db.acquire().await.unwrap();
    let row = sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(&mut *connection).await.unwrap();
    row.try_get(0).unwrap()
}

#[tokio::test]
async fn a_connection_is_used_again_and_never_inside_a_transaction() {
    let fleet = fleet::shared().await;
    let db = pool(fleet);
    let first = session(&db).await;
    for polls in 0..50 {
        // Given up sooner or later: before it is sent, on its way, and when it is there.
        let mut begin = Box::pin(db.begin());
        for _ in 0..polls {
            if futures::poll!(&mut begin).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(begin);
        let mut connection = db.acquire().await.unwrap();
        // Outside of a transaction a statement's own time is its transaction's.
        let asked = sqlx::raw_sql("SELECT transaction_timestamp() = statement_timestamp()");
        let is_outside: bool = asked.fetch_one(&mut *connection).await.unwrap().try_get(0).unwrap();
        assert!(is_outside, "given up after {polls} polls, the beginning of a transaction was handed on");
    }
    assert_eq!(session(&db).await, first, "a connection was thrown away");
}

#[tokio::test]
async fn an_invitation_outlives_its_day_while_its_tenant_is_being_made() {
    let fleet = fleet::alone().await;
    let (db, control, tenant) = (pool(&fleet), fleet.control(), fleet.tenant().await);
    let id = tenant.id.replace("ten_", "");
    control
        .run(&format!(
            "INSERT INTO secrets (owner_id, purpose, sealed, updated_at)
                 VALUES ('{id}', 'first_admin_invitation', '', now() - interval '2 days');
             UPDATE tenants SET state = 'provisioning' WHERE id = '{id}'"
        ))
        .await;
    let kept = format!("SELECT count(*) FROM secrets WHERE owner_id = '{id}' AND purpose = 'first_admin_invitation'");
    idempotency::purge(&mut db.acquire().await.unwrap()).await.unwrap();
    assert_eq!(control.value::<i64>(&kept).await, 1, "its operation would find nobody to invite");
    // With a warm database it is active, and waits for them.
    control.run(&format!("UPDATE tenants SET state = 'active', is_settling = true WHERE id = '{id}'")).await;
    idempotency::purge(&mut db.acquire().await.unwrap()).await.unwrap();
    assert_eq!(control.value::<i64>(&kept).await, 1, "nor would that of a tenant with a warm database");
    control.run(&format!("UPDATE tenants SET is_settling = false WHERE id = '{id}'")).await;
    idempotency::purge(&mut db.acquire().await.unwrap()).await.unwrap();
    assert_eq!(control.value::<i64>(&kept).await, 0);
}
