//! The measurements, one after another, and what they are held against.

use std::time::Duration;

use anyhow::ensure;
use futures::future::{join_all, try_join_all};
use tokio::time::Instant;

use crate::{
    bench::{Bench, Order},
    figures::{Bound, Goal, Series},
    metrics::Histogram,
    report::Report,
};

const CLAIMS: &str = "freehold_warm_claim_duration_seconds";
/// Warm databases at a time.
const WARM: usize = 25;
/// Tenants that are made before any is counted: until then connections are new, and PostgreSQL plans their statements
/// anew each time, as it does for the first five.
const FIRST: usize = 100;
/// The same of those that get a warm database.
const FIRST_WARM: usize = 50;
/// Clients that ask for tenants at a sustained rate.
const CLIENTS: usize = 8;
/// How many tenants those clients ask for between bare copies.
const SPELL: usize = 50;

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
    clients(bench, FIRST).await?;
    let [bare, cold] = cold(bench, counts.cold).await?;
    let [bare_loop, sustained] = sustained(bench, counts.sustained).await?;
    let [accepted, serving] = at_once(bench, counts.at_once).await?;
    // Last: what is ready by then would be given to the others.
    let [claims, answers, crowded] = warm(bench, counts.warm).await?;
    let rate = |series: &Series| series.per_second.unwrap_or_default();
    let goals = vec![
        Goal::new("warm claim in the server, p50 in ms", claims.p50_ms, Bound::AtMost(10.0)),
        Goal::new("warm claim in the server, p99 in ms", claims.p99_ms, Bound::AtMost(50.0)),
        Goal::new("one upon the other, p99 in ms", crowded.p99_ms, Bound::AtMost(50.0)),
        Goal::new("cold p50 ÷ bare copy p50", cold.p50_ms / bare.p50_ms, Bound::AtMost(1.5)),
        Goal::new("sustained rate ÷ bare loop's", rate(&sustained) / rate(&bare_loop), Bound::AtLeast(0.9)),
    ];
    Ok(Report {
        build: if cfg!(debug_assertions) { "dev" } else { "release" },
        postgres: bench.postgres_version().await?,
        asked_again: bench.asked_again(),
        series: vec![claims, answers, crowded, bare, cold, bare_loop, sustained, accepted, serving],
        goals,
    })
}

/// Tenants that get a database that is ready: as the server has measured it, and the client. First each when all is
/// done for the one before it, then as fast as they come, while the administrators of those before them are being made.
async fn warm(bench: &Bench<'_>, count: usize) -> anyhow::Result<[Series; 3]> {
    claims(bench, FIRST_WARM, Pace::OneByOne).await?;
    let before = bench.histogram(CLAIMS).await?;
    let took = claims(bench, count, Pace::OneByOne).await?;
    let between = bench.histogram(CLAIMS).await?;
    let crowd = claims(bench, count, Pace::AtOnce).await?;
    let after = bench.histogram(CLAIMS).await?;
    let series = |what, took: &[Duration], measured: &Histogram| Series {
        p50_ms: measured.quantile_ms(0.5),
        p99_ms: measured.quantile_ms(0.99),
        ..Series::of(what, took.to_vec())
    };
    let one_by_one = series("warm claim, in the server", &took, &between.since(&before));
    let at_once = series("warm claim, one upon the other", &crowd, &after.since(&between));
    Ok([one_by_one, Series::of("warm, as the client sees it", took), at_once])
}

/// When the next tenant is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// When all is done for the one before.
    OneByOne,
    /// When the one before is recorded.
    AtOnce,
}

/// As the client sees them.
async fn claims(bench: &Bench<'_>, count: usize, pace: Pace) -> anyhow::Result<Vec<Duration>> {
    let mut took = Vec::new();
    while took.len() < count {
        bench.keep_warm(WARM).await?;
        for _ in 0..WARM.min(count - took.len()) {
            let made = bench.create(&Order { admin: true, wait: 0 }).await?;
            ensure!(made.is_serving, "a tenant got no warm database, although there was one");
            if pace == Pace::OneByOne {
                bench.finish(&made).await?;
            }
            took.push(made.took);
        }
    }
    Ok(took)
}

/// Tenants whose database has to be made, one after another, and what PostgreSQL alone takes to copy the template: by
/// turns, since how fast a disk is changes from one second to the next.
async fn cold(bench: &Bench<'_>, count: usize) -> anyhow::Result<[Series; 2]> {
    let (mut bare, mut cold) = (Vec::new(), Vec::new());
    while cold.len() < count {
        bare.extend(bench.bare_copies(1).await?.0);
        cold.push(bench.create_and_wait().await?);
    }
    Ok([Series::of("bare CREATE DATABASE … TEMPLATE", bare), Series::of("cold, until it serves", cold)])
}

/// As many as possible for a while, before and after as many bare copies.
async fn sustained(bench: &Bench<'_>, count: usize) -> anyhow::Result<[Series; 2]> {
    let (mut bare, mut made) = (Vec::new(), Vec::new());
    let (mut copying, mut making) = (Duration::ZERO, Duration::ZERO);
    while made.len() < count {
        let spell = SPELL.min(count - made.len());
        let (before, took_before) = bench.bare_copies(spell / 2).await?;
        let began = Instant::now();
        made.extend(clients(bench, spell).await?);
        making += began.elapsed();
        let (after, took_after) = bench.bare_copies(spell / 2).await?;
        bare.extend(before.into_iter().chain(after));
        copying += took_before + took_after;
    }
    let bare = Series::of("bare copies in a loop", bare).within(copying);
    Ok([bare, Series::of("cold, 8 clients at a time", made).within(making)])
}

/// So many tenants, asked for by clients each of which asks for the next one when it has one.
async fn clients(bench: &Bench<'_>, count: usize) -> anyhow::Result<Vec<Duration>> {
    let client = async |tenants: usize| {
        let mut took = Vec::new();
        for _ in 0..tenants {
            took.push(bench.create_and_wait().await?);
        }
        anyhow::Ok(took)
    };
    Ok(try_join_all((0..CLIENTS).map(|n| client((count + n) / CLIENTS))).await?.concat())
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
