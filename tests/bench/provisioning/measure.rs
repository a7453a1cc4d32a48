//! The measurements, one after another, and what they are held against.

use std::time::Duration;

use anyhow::ensure;
use futures::future::{join_all, try_join_all};
use tokio::time::Instant;

use crate::{
    bench::{Bench, Order},
    figures::{Bound, Goal, Series},
    report::Report,
};

const CLAIMS: &str = "freehold_warm_claim_duration_seconds";
/// Warm databases at a time.
const WARM: usize = 25;
/// Bare copies and cold tenants by turns, so many at a time.
const TURN: usize = 10;
/// Clients that ask for tenants at a sustained rate.
const CLIENTS: usize = 8;

/// How many of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    at_once: usize,
    cold: usize,
    warm: usize,
    sustained: usize,
}

impl Counts {
    pub(crate) fn of(tenants: u32) -> Self {
        let at_once = usize::try_from(tenants).unwrap_or(usize::MAX);
        Self { at_once, cold: at_once / 10, warm: at_once / 5, sustained: at_once / 5 }
    }
}

/// Measures everything.
pub(crate) async fn all(bench: &Bench<'_>, counts: Counts) -> anyhow::Result<Report> {
    let [claims, answers] = warm(bench, counts.warm).await?;
    let [bare, cold] = cold(bench, counts.cold).await?;
    let [bare_loop, sustained] = sustained(bench, counts.sustained).await?;
    let [accepted, serving] = at_once(bench, counts.at_once).await?;
    let rate = |series: &Series| series.per_second.unwrap_or_default();
    let goals = vec![
        Goal::new("warm claim in the server, p50 in ms", claims.p50_ms, Bound::AtMost(10.0)),
        Goal::new("warm claim in the server, p99 in ms", claims.p99_ms, Bound::AtMost(50.0)),
        Goal::new("cold p50 ÷ bare copy p50", cold.p50_ms / bare.p50_ms, Bound::AtMost(1.5)),
        Goal::new("sustained rate ÷ bare loop's", rate(&sustained) / rate(&bare_loop), Bound::AtLeast(0.9)),
    ];
    Ok(Report {
        build: if cfg!(debug_assertions) { "dev" } else { "release" },
        postgres: bench.postgres_version().await?,
        asked_again: bench.asked_again(),
        series: vec![claims, answers, bare, cold, bare_loop, sustained, accepted, serving],
        goals,
    })
}

/// Tenants that get a database that is ready, one after another: as the server has measured it, and the client.
async fn warm(bench: &Bench<'_>, count: usize) -> anyhow::Result<[Series; 2]> {
    let before = bench.histogram(CLAIMS).await?;
    let mut took = Vec::new();
    while took.len() < count {
        bench.keep_warm(WARM).await?;
        for _ in 0..WARM.min(count - took.len()) {
            let made = bench.create(&Order { admin: true, wait: 0 }).await?;
            ensure!(made.is_serving, "a tenant got no warm database, although there was one");
            took.push(made.took);
        }
    }
    bench.keep_warm(0).await?;
    let claims = bench.histogram(CLAIMS).await?.since(&before);
    let answers = Series::of("warm, as the client sees it", took);
    let claims = Series {
        what: "warm claim, in the server",
        p50_ms: claims.quantile_ms(0.5),
        p99_ms: claims.quantile_ms(0.99),
        ..answers.clone()
    };
    Ok([claims, answers])
}

/// Tenants whose database has to be made, one after another, and what PostgreSQL alone takes to copy the template.
async fn cold(bench: &Bench<'_>, count: usize) -> anyhow::Result<[Series; 2]> {
    let (mut bare, mut cold) = (Vec::new(), Vec::new());
    while cold.len() < count {
        let turn = TURN.min(count - cold.len());
        bare.extend(bench.bare_copies(turn).await?.0);
        for _ in 0..turn {
            cold.push(bench.create_and_wait().await?);
        }
    }
    Ok([Series::of("bare CREATE DATABASE … TEMPLATE", bare), Series::of("cold, until it serves", cold)])
}

/// As many as possible for a while, before and after as many bare copies.
async fn sustained(bench: &Bench<'_>, count: usize) -> anyhow::Result<[Series; 2]> {
    let (mut bare, before) = bench.bare_copies(count / 2).await?;
    let began = Instant::now();
    let client = async |tenants: usize| {
        let mut took = Vec::new();
        for _ in 0..tenants {
            took.push(bench.create_and_wait().await?);
        }
        anyhow::Ok(took)
    };
    let took = try_join_all((0..CLIENTS).map(|n| client((count + n) / CLIENTS))).await?.concat();
    let elapsed = began.elapsed();
    let (more, after) = bench.bare_copies(count / 2).await?;
    bare.extend(more);
    let bare = Series::of("bare copies in a loop", bare).within(before + after);
    Ok([bare, Series::of("cold, 8 clients at a time", took).within(elapsed)])
}

/// Many at once: until each request is answered, and until each tenant serves.
async fn at_once(bench: &Bench<'_>, count: usize) -> anyhow::Result<[Series; 2]> {
    let since = bench.now().await?;
    let order = Order { admin: false, wait: 0 };
    let answers = join_all((0..count).map(|_| bench.create(&order))).await;
    let accepted: Vec<Duration> = answers.iter().flatten().map(|made| made.took).collect();
    let refused = count - accepted.len();
    let (serving, elapsed) = bench.finished_since(since, accepted.len()).await?;
    let failed = accepted.len() - serving.len();
    Ok([
        Series::of("all at once, until accepted", accepted).failing(refused),
        Series::of("all at once, until it serves", serving).within(elapsed).failing(failed),
    ])
}
