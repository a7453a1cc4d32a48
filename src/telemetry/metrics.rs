//! Metrics: one Prometheus recorder a process, rendered by the admin listener's `/metrics`.
//!
//! A module that measures declares its own names beside the code that records them, and `app` calls its
//! `describe` after [`Metrics::install`]. Names follow Prometheus (`freehold_…_total`, `…_seconds`). Label
//! values come from small closed sets: routes are templates, never raw paths; no slug, name or address ever. Tenants
//! are told apart by [`super::meters`] alone, which bounds how many.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::Context;
use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio_util::sync::CancellationToken;

/// Upper bounds, in seconds, of every other histogram: from a cached read to the longest request.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0];

/// A claim of a warm database is promised within 10 ms, and within 50 ms at the worst: told finely around both.
const CLAIM: &str = "freehold_warm_claim_duration_seconds";
const CLAIM_SECONDS: &[f64] = &[
    0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.009, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04,
    0.045, 0.05, 0.075, 0.1, 0.25, 1.0, 5.0,
];

/// How often samples are folded into buckets. Without this the exporter keeps every sample until a scrape.
const UPKEEP: Duration = Duration::from_secs(5);

const REQUESTS: &str = "freehold_http_requests_total";
const REQUEST_DURATION: &str = "freehold_http_request_duration_seconds";
const IN_FLIGHT: &str = "freehold_http_requests_in_flight";

/// The recorder of this process. Clones share it.
#[derive(Clone)]
pub struct Metrics {
    recorder: PrometheusHandle,
    process: Arc<Collector>,
}

impl Metrics {
    /// Makes the recorder that every `metrics` macro of this process writes to.
    ///
    /// # Errors
    /// When there is one already.
    pub fn install() -> anyhow::Result<Self> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Full(CLAIM.to_owned()), CLAIM_SECONDS))
            .and_then(PrometheusBuilder::install_recorder)
            .context("installing the metrics recorder")?;
        let process = Arc::new(Collector::default());
        process.describe();
        describe();
        Ok(Self { recorder, process })
    }

    /// A recorder that nobody writes to, for tests that run side by side in one process.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder().handle();
        Self { recorder, process: Arc::new(Collector::default()) }
    }

    /// Keeps memory bounded between scrapes, until `stop`.
    pub async fn upkeep(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.recorder.run_upkeep();
        }
    }

    /// Everything known now, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.process.collect();
        self.recorder.render()
    }
}

fn describe() {
    super::meters::describe();
    describe_counter!(REQUESTS, "Requests answered, by listener, method, route template and status.");
    describe_histogram!(REQUEST_DURATION, Unit::Seconds, "Time from a request's head to its answer's head.");
    describe_gauge!(IN_FLIGHT, "Requests that are being worked on.");
    super::writer::describe_metrics();
}

/// The requests of one listener that are being worked on.
pub struct Gauge(metrics::Gauge);

impl Gauge {
    /// None yet.
    #[must_use]
    pub fn new(listener: &'static str) -> Self {
        Self(gauge!(IN_FLIGHT, "listener" => listener))
    }

    /// One more.
    #[must_use]
    pub fn begin(&self) -> InFlight {
        self.0.increment(1.0);
        InFlight(self.0.clone())
    }
}

/// A request that is being worked on: counted from its making until it is dropped, hang-ups included.
pub struct InFlight(metrics::Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// What one answered request counts under.
#[derive(Debug)]
pub struct Answered<'a> {
    /// `public` or `admin`.
    pub listener: &'static str,
    /// The method, from the closed set of those that routes use.
    pub method: &'static str,
    /// The route's template.
    pub route: &'a str,
    /// The answer's status.
    pub status: u16,
    /// Time from the request's head to the answer's.
    pub elapsed: Duration,
}

impl Answered<'_> {
    /// Counts it.
    pub fn record(&self, requests: &Requests) {
        let series = requests.series(self);
        series.duration.record(self.elapsed.as_secs_f64());
        series.count.increment(1);
    }
}

/// Where the requests of one listener are counted. What is counted under the same labels is looked up once: with a
/// recorder, that costs more than counting.
#[derive(Default)]
pub struct Requests(RwLock<HashMap<(&'static str, u16), ByRoute>>);

type ByRoute = HashMap<String, Series>;

#[derive(Clone)]
struct Series {
    duration: Histogram,
    count: Counter,
}

impl Requests {
    fn series(&self, answered: &Answered<'_>) -> Series {
        let key = (answered.method, answered.status);
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known.get(&key).and_then(|routes| routes.get(answered.route)) {
            return series.clone();
        }
        drop(known);
        let series = Series::of(answered);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(key).or_default().insert(answered.route.to_owned(), series.clone());
        series
    }
}

impl Series {
    fn of(answered: &Answered<'_>) -> Self {
        let Answered { listener, method, route, status, .. } = *answered;
        let route = route.to_owned();
        let duration =
            histogram!(REQUEST_DURATION, "listener" => listener, "method" => method, "route" => route.clone());
        let status = status.to_string();
        let count =
            counter!(REQUESTS, "listener" => listener, "method" => method, "route" => route, "status" => status);
        Self { duration, count }
    }
}
