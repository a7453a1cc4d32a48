//! The pool of connections to the control database: kept, and never handed on inside a transaction.

use freehold::control::{ControlDb, Settings};
use sqlx::Row;

use crate::harness::fleet;

/// The session behind the pool's only connection.
async fn session(db: &ControlDb) -> i32 {
    let mut connection = db.acquire().await.unwrap();
    let row = sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(&mut *connection).await.unwrap();
    row.try_get(0).unwrap()
}

#[tokio::test]
async fn a_connection_is_used_again_but_not_inside_a_transaction() {
    let fleet = fleet::shared().await;
    let url: url::Url = fleet.setting("FREEHOLD_CONTROL_URL").parse().unwrap();
    let db = ControlDb::new(&Settings {
        host: "127.0.0.1".into(),
        port: url.port().unwrap(),
        role: url.username().into(),
        password: url.password().unwrap().into(),
        database: url.path().trim_start_matches('/').into(),
        verify_tls: false,
        ca_file: None,
        max_connections: 1,
        application_name: "freehold:test".into(),
    });
    let first = session(&db).await;
    for _ in 0..5 {
        assert_eq!(session(&db).await, first, "a connection was thrown away");
    }
    let mut connection = db.acquire().await.unwrap();
    // As a cancelled `begin()` leaves it: the pool does not know of the transaction.
    sqlx::raw_sql("BEGIN").execute(&mut *connection).await.unwrap();
    drop(connection);
    assert_ne!(session(&db).await, first, "a connection came back inside a transaction");
}
