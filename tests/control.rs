//! The control database: its pool keeps connections and never hands one on inside a transaction; housekeeping
//! forgets what is old and keeps what is still needed.

use std::time::Duration;

use freehold::control::{ControlDb, Keeper, Lent, Settings, idempotency};
use sqlx::{PgConnection, Row};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::fleet::{self, Fleet};

/// A pool of so many connections, of the test's own.
fn pool(fleet: &Fleet, max_connections: u32) -> ControlDb {
    pool_at(fleet, port(fleet), max_connections)
}

fn port(fleet: &Fleet) -> u16 {
    let url: url::Url = fleet.setting("FREEHOLD_CONTROL_URL").parse().unwrap();
    url.port().unwrap()
}

fn pool_at(fleet: &Fleet, port: u16, max_connections: u32) -> ControlDb {
    let url: url::Url = fleet.setting("FREEHOLD_CONTROL_URL").parse().unwrap();
    ControlDb::new(&Settings {
        host: "127.0.0.1".into(),
        port,
        role: url.username().into(),
        password: url.password().unwrap().into(),
        database: url.path().trim_start_matches('/').into(),
        verify_tls: false,
        ca_file: None,
        max_connections,
        application_name: "freehold:test".into(),
    })
}

/// The session behind a connection.
async fn session(connection: &mut PgConnection) -> i32 {
    let row = sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await.unwrap();
    row.try_get(0).unwrap()
}

async fn keeps(keeper: &mut Keeper) -> bool {
    matches!(keeper.connection().await.unwrap(), Lent::Kept(_))
}

#[tokio::test]
async fn a_connection_is_used_again_and_never_inside_a_transaction() {
    let fleet = fleet::shared().await;
    let db = pool(fleet, 1);
    let first = session(&mut db.acquire().await.unwrap()).await;
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
    assert_eq!(session(&mut db.acquire().await.unwrap()).await, first, "a connection was thrown away");
}

/// Where a server hears of each new connection `late`.
async fn slow_door(server: u16, late: Duration) -> u16 {
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = door.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    port
}

#[tokio::test]
async fn a_control_database_that_is_slow_to_accept_connections_is_used_all_the_same() {
    let fleet = fleet::shared().await;
    let door = slow_door(port(fleet), Duration::from_millis(2_500)).await;
    let db = pool_at(fleet, door, 4);
    assert_eq!(db.acquire().await.unwrap_err().code(), "control_database_unavailable");
    // The connection that nobody waits for any more opens all the same.
    session(&mut db.acquire_for_change().await.unwrap()).await;
}

#[tokio::test]
async fn no_more_than_a_quarter_of_the_connections_is_kept() {
    let db = pool(fleet::shared().await, 8);
    let (mut first, mut second, mut third) = (db.keep(), db.keep(), db.keep());
    assert!(keeps(&mut first).await && keeps(&mut second).await);
    assert!(!keeps(&mut third).await, "a third of eight");
    drop(first);
    assert!(!keeps(&mut third).await, "it was refused when it began");
    assert!(keeps(&mut db.keep()).await, "a keeper that is gone keeps nobody out");
}

#[tokio::test]
async fn a_kept_connection_is_the_same_until_it_is_given_back_and_a_broken_one_is_replaced() {
    let fleet = fleet::shared().await;
    let db = pool(fleet, 4);
    let mut keeper = db.keep();
    let first = session(&mut keeper.connection().await.unwrap()).await;
    assert_eq!(session(&mut keeper.connection().await.unwrap()).await, first);
    let others = [db.acquire().await.unwrap(), db.acquire().await.unwrap(), db.acquire().await.unwrap()];
    db.acquire().await.unwrap_err();
    keeper.rest();
    drop((db.acquire().await.unwrap(), others));

    let broken = session(&mut keeper.connection().await.unwrap()).await;
    fleet.control().run(&format!("SELECT pg_terminate_backend({broken}, 5000)")).await;
    // Longer than one that has just answered counts as one that does.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_ne!(session(&mut keeper.connection().await.unwrap()).await, broken);
}

#[tokio::test]
async fn an_invitation_outlives_its_day_while_its_tenant_is_being_made() {
    let fleet = fleet::alone().await;
    let (db, control, tenant) = (pool(&fleet, 1), fleet.control(), fleet.tenant().await);
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
