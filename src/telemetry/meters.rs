//! What each tenant asks of this replica, as metrics: in full for the first hundred tenants, and together for all
//! others, so that labels stay few. The label holds the tenant's id, never its name.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use metrics::{Counter, Unit, counter, describe_counter};

use crate::types::TenantId;

/// How many tenants have a label of their own.
const MOST: usize = 100;
/// The label of all others.
const OTHERS: &str = "_other";

const REQUESTS: &str = "freehold_tenant_requests_total";
const RECEIVED: &str = "freehold_tenant_received_bytes_total";
const SENT: &str = "freehold_tenant_sent_bytes_total";

/// The classes of HTTP statuses, in order.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

pub(super) fn describe() {
    describe_counter!(REQUESTS, "Requests answered, by tenant and by class of the status.");
    describe_counter!(RECEIVED, Unit::Bytes, "What arrived of requests' bodies, by tenant.");
    describe_counter!(SENT, Unit::Bytes, "What was sent of answers' bodies, by tenant.");
}

/// The tenants' meters. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<RwLock<HashMap<Option<TenantId>, Meter>>>);

impl Meters {
    /// The meter of this tenant; once a hundred have theirs, the one that all others share.
    #[must_use]
    pub fn of(&self, tenant: TenantId) -> Meter {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_full = held.len() >= MOST;
        let found = held.get(&Some(tenant)).or_else(|| held.get(&None).filter(|_| is_full)).cloned();
        drop(held);
        found.unwrap_or_else(|| self.make(tenant))
    }

    fn make(&self, tenant: TenantId) -> Meter {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let whose = Some(tenant).filter(|_| held.len() < MOST || held.contains_key(&Some(tenant)));
        let label = whose.map_or_else(|| OTHERS.to_owned(), |tenant| tenant.to_string());
        held.entry(whose).or_insert_with(|| Meter::new(&label)).clone()
    }
}

/// Counts what is done for one tenant. Clones count together.
#[derive(Clone)]
pub struct Meter(Arc<Counters>);

struct Counters {
    requests: [Counter; CLASSES.len()],
    received: Counter,
    sent: Counter,
}

impl Meter {
    fn new(label: &str) -> Self {
        let label = || label.to_owned();
        Self(Arc::new(Counters {
            requests: CLASSES.map(|class| counter!(REQUESTS, "tenant" => label(), "status" => class)),
            received: counter!(RECEIVED, "tenant" => label()),
            sent: counter!(SENT, "tenant" => label()),
        }))
    }

    /// A request was answered with this status.
    pub fn answered(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(requests) = class.and_then(|class| self.0.requests.get(class)) {
            requests.increment(1);
        }
    }

    /// So many bytes of a request's body arrived.
    pub fn received(&self, bytes: u64) {
        self.0.received.increment(bytes);
    }

    /// So many bytes of an answer's body were sent.
    pub fn sent(&self, bytes: u64) {
        self.0.sent.increment(bytes);
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, Random};

    #[test]
    fn a_hundred_tenants_are_told_apart_and_the_rest_is_one() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let (meters, clock) = (Meters::default(), Clock::default());
        let tenants: Vec<_> = (0..MOST + 20).map(|_| TenantId::generate(&clock, Random)).collect();
        for _ in 0..2 {
            for tenant in &tenants {
                meters.of(*tenant).answered(204);
                meters.of(*tenant).received(3);
            }
        }
        let text = recorder.handle().render();
        let count = |name: &str| text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count();
        assert_eq!(count(RECEIVED), MOST + 1, "{text}");
        let first = format!(r#"{REQUESTS}{{tenant="{}",status="2xx"}} 2"#, tenants[0]);
        assert!(text.contains(&first), "{text}");
        assert!(text.contains(&format!(r#"{RECEIVED}{{tenant="_other"}} 120"#)), "{text}");
        assert!(!text.contains(&tenants[MOST].to_string()), "{text}");
    }

    #[test]
    fn a_status_that_no_answer_has_counts_nowhere() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let meter = Meters::default().of(TenantId::generate(&Clock::default(), Random));
        for status in [0, 99, 600, u16::MAX] {
            meter.answered(status);
        }
        assert!(!recorder.handle().render().contains("} 1\n"));
    }
}
