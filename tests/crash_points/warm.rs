//! The operations of the warm pool, which have no tenant and nobody who asks for them: queued here as the keeper does.

use freehold::{operations::warm, types::OperationId};

use super::subject::{Asked, engine};
use crate::harness::fleet::{Fleet, RUNTIME};

/// Queues the making of a database.
pub(super) async fn make(fleet: &Fleet) -> Asked {
    let sql = "SELECT 'srv_' || replace(id::text, '-', '') FROM servers WHERE purpose = 'tenants'";
    let server = fleet.control().value::<String>(sql).await.parse().unwrap();
    let ctx = fleet.replica.app().operations().clone();
    let queued = async move {
        let mut txn = ctx.db.begin().await.unwrap();
        let operation = warm::make_in_txn(&ctx, &mut txn, server).await.unwrap();
        txn.commit().await.unwrap();
        operation
    };
    asked(fleet, RUNTIME.spawn(queued).await.unwrap()).await
}

/// Makes `count` databases, which are ready.
pub(super) async fn ready(fleet: &Fleet, count: usize) -> Vec<Asked> {
    let mut made = Vec::new();
    for _ in 0..count {
        made.push(make(fleet).await);
    }
    let engine = engine(fleet).await;
    for asked in &made {
        fleet.finished(&asked.operation).await;
    }
    engine.stop().await;
    made
}

/// Queues the taking away of a database.
pub(super) async fn retire(fleet: &Fleet, ready: &Asked) -> Asked {
    let sql = "SELECT 'srv_' || replace(id::text, '-', '') FROM servers WHERE purpose = 'tenants'";
    let server = fleet.control().value::<String>(sql).await.parse().unwrap();
    let (ctx, id) = (fleet.replica.app().operations().clone(), ready.tenant.parse().unwrap());
    let queued = async move {
        let mut txn = ctx.db.begin().await.unwrap();
        let operation = warm::retire_in_txn(&ctx, &mut txn, (id, server)).await.unwrap();
        txn.commit().await.unwrap();
        operation.unwrap()
    };
    asked(fleet, RUNTIME.spawn(queued).await.unwrap()).await
}

async fn asked(fleet: &Fleet, operation: OperationId) -> Asked {
    let operation = fleet.operator().get(&format!("/platform/v1/operations/{operation}")).await.expect(200);
    let text = |name: &str| operation[name].as_str().unwrap().to_owned();
    Asked { tenant: text("tenant_id"), slug: String::new(), operation: text("id") }
}

/// Whole and ready, or gone without a trace.
pub(super) async fn assert_ended(fleet: &Fleet, asked: &Asked, is_there: bool) {
    let (name, id) = (asked.tenant.replace("ten_", "tenant_"), asked.tenant.trim_start_matches("ten_"));
    let on_server = format!(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname = '{name}' AND datallowconn)
              + (SELECT count(*) FROM pg_roles WHERE rolname = '{name}' AND rolcanlogin)"
    );
    let in_control = format!(
        "SELECT (SELECT count(*) FROM warm_databases WHERE id = '{id}' AND state = 'ready')
              + (SELECT count(*) FROM secrets WHERE owner_id = '{id}')
              + (SELECT count(*) FROM signing_keys WHERE tenant_id = '{id}')"
    );
    let left: (i64, i64) =
        (fleet.on_server("postgres").value(&on_server).await, fleet.control().value(&in_control).await);
    assert_eq!(left, if is_there { (2, 3) } else { (0, 0) }, "{asked:?}");
    // Tenants of other cases are to be made in steps: this is none of the newest template any more.
    fleet.control().run(&format!("UPDATE warm_databases SET template = 'of a test' WHERE id = '{id}'")).await;
}

/// Keeps the keeper from its work for as long as the session lives: by the lock under which it does it.
pub(super) async fn without_keeper(fleet: &Fleet) -> tokio_postgres::Client {
    crate::warm::held_back(fleet).await
}
