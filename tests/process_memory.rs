//! What a burst of sign-ins leaves behind in the memory of the real program.

use std::{fs, time::Duration};

use futures::future::join_all;
use serde_json::json;

use crate::harness::programs::Dev;

/// At once.
const BURST: usize = 60;
/// The most that bursts may leave, in KiB.
const LEFT: u64 = 100 * 1024;

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sixty people at once, each from an address of their own, with a wrong password; how many were hashed.
async fn burst(client: &reqwest::Client, dev: &Dev, number: usize) -> usize {
    let url = format!("{}/v1/auth/login", dev.told("/public_url"));
    let host = format!("{}.localhost", dev.told("/tenants/0/slug"));
    let sign_in = |person: usize| {
        let body = json!({ "email": format!("p{number}-{person}@example.com"), "password": "not the right password" });
        let from = format!("10.{number}.0.{person}");
        client.post(&url).header("host", &host).header("x-forwarded-for", from).json(&body).send()
    };
    let answers = join_all((0..BURST).map(sign_in)).await;
    answers.into_iter().filter(|answer| answer.as_ref().unwrap().status() == 401).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_of_sign_ins_leave_little_memory_behind() {
    let dev = Dev::start_with(&[("PASSWORD_HASH_CONCURRENCY", "2"), ("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
    let before = resident_kib(dev.pid("freehold"));
    let mut hashed = 0;
    // Those that wait too long for their turn are told to come back; the later bursts count as much as the first.
    for number in 0..20 {
        hashed += burst(&client, &dev, number).await;
        if hashed >= 2 * BURST {
            break;
        }
    }
    assert!(hashed >= BURST / 2, "only {hashed} passwords were hashed");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = resident_kib(dev.pid("freehold"));
    assert!(after < before + LEFT, "{} MiB are left behind", (after - before) / 1024);
}
