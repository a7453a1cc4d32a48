//! The suite on another version: `PG_BIN=<folder> ./ops/test` runs on that one, in this process and in others.

use crate::harness::{fleet, postgres::version, programs::Dev};

#[tokio::test]
async fn every_server_is_the_postgresql_that_was_asked_for() {
    let (fleet, dev) = (fleet::shared().await, Dev::shared().await);
    let tenants = version(&fleet.on_server("postgres").connect().await.unwrap()).await;
    assert_eq!(version(&fleet.control().connect().await.unwrap()).await, tenants);
    assert_eq!(version(&dev.server().await).await, tenants);
    assert_eq!(version(&dev.control().await).await, tenants);
}
