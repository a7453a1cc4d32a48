//! Connections that break: between clients and Freehold, and between Freehold and a tenant's database.

use std::time::Duration;

use futures::{StreamExt, future::join_all, stream};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::harness::{
    actors::Caller,
    eventually_within,
    programs::{Dev, assert_clean, connect},
    unique,
};

/// How many clients hang up.
const CLIENTS: usize = 500;
const PASSWORD: &str = "a long enough passphrase";

/// A tenant without rate limits: its administrator, and the name of its database.
async fn make_tenant(dev: &Dev, name: &str) -> (Caller, String) {
    let slug = unique(name);
    let admin = json!({ "email": "ada@clients.example", "password": PASSWORD });
    let body = json!({ "slug": slug, "name": slug, "plan": "bench", "admin": admin });
    let made = dev.operator().post_patiently("/platform/v1/tenants", &body, &slug).await.unwrap();
    let path = format!("/platform/v1/tenants/{}", made.member("id"));
    eventually_within("the tenant serves", Duration::from_mins(1), async || {
        dev.operator().try_get(&path).await.ok().filter(|answer| answer.json()["state"] == "active").map(drop)
    })
    .await;
    let api = dev.public().at(&slug).sign_in("ada@clients.example", PASSWORD).await;
    (api, made.member("id").replace("ten_", "tenant_"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_in_the_pool_cost_at_most_one_answer() {
    let dev = Dev::shared().await;
    let (api, database) = make_tenant(dev, "cut").await;
    let server = dev.server().await;
    let read = async || api.try_get("/v1/projects").await.unwrap().status();
    assert!(join_all((0..8).map(|_| read())).await.iter().all(|status| *status == 200));
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
    let sessions: i64 = server.query_one(cut, &[&database]).await.unwrap().get(0);
    assert!(sessions > 0, "there was a pool to cut");
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(read().await);
    }
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(refused <= 1 && statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
}

/// Sends a request and hangs up without waiting: every second time so that the other side sees a reset.
async fn send_and_hang_up(address: &str, api: &Caller, key: &str) {
    let body = json!({ "name": key }).to_string();
    let (host, token) = (api.host(), api.bearer().expose_secret());
    let request = format!(
        "POST /v1/projects HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nidempotency-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    if key.ends_with(['0', '2', '4', '6', '8']) {
        stream.set_zero_linger().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hang_up_leave_nothing_half_done() {
    let dev = Dev::shared().await;
    let (api, database) = make_tenant(dev, "hangup").await;
    let address = dev.told("/public_url").strip_prefix("http://").unwrap();
    let keys: Vec<_> = (0..CLIENTS).map(|n| format!("key-{n}")).collect();
    stream::iter(&keys).for_each_concurrent(50, |key| send_and_hang_up(address, &api, key)).await;

    // Each was done once or not at all; asked again under its key it is done once.
    let again = stream::iter(&keys).map(|key| {
        let body = json!({ "name": key });
        let api = &api;
        async move { api.post_patiently("/v1/projects", &body, key).await.unwrap().status() }
    });
    let statuses: Vec<_> = again.buffer_unordered(8).collect().await;
    assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
    let url = dev.told("/servers/0/superuser_url").replace("/postgres?", &format!("/{database}?"));
    let counted = "SELECT count(*), count(DISTINCT name) FROM projects";
    let row = connect(&url).await.query_one(counted, &[]).await.unwrap();
    let expected = i64::try_from(CLIENTS).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (expected, expected), "projects, and names among them");

    let idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = $1";
    let server = dev.server().await;
    // Those who have hung up may still be at work for a moment, as what they asked for goes on.
    eventually_within("no session sits in a transaction", Duration::from_secs(5), async || {
        (server.query_one(idle, &[&database]).await.unwrap().get::<_, i64>(0) == 0).then_some(())
    })
    .await;
    let after = join_all((0..8).map(|_| api.make_project())).await;
    assert!(after.iter().all(|answer| answer.status() == 201), "{after:?}");
    assert_clean(&dev.operator()).await;
}
