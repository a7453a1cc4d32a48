//! Counts failed sign-in attempts by account and by IP address. All replicas share the counts.
//!
//! An attempt is counted before anything is looked up, and the count is taken back when it succeeds. So of many
//! concurrent attempts, exactly the allowed number gets through. Unknown account names are counted too. After five
//! failures there are delays of 1, 2, 4, … seconds. After ten the account is locked for fifteen minutes.
//!
//! The count ends fifteen minutes after its first failure or, if there was a lock, with the lock. Refused attempts are
//! not counted, so a stranger cannot prolong a lock. An attempt without a result, because the client disconnected or
//! the replica died, stays counted.

use std::{net::IpAddr, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use fred::types::scripts::Script;

use super::{
    bounds::{Bounds, WINDOW},
    local::Local,
    traces::prefix,
};
use crate::{
    error::{Error, Result},
    redis::{NoAnswer, Redis},
    types::{Clock, TenantId},
};

/// The limits of one account, counted by all replicas together (design.md §6).
const ACCOUNT: Bounds = Bounds { delay_at: 5, lock_at: 10 };
/// The limits of one IP address. They are higher, because many people can share one.
const ADDRESS: Bounds = Bounds { delay_at: 50, lock_at: 60 };
/// The limits of one account when each replica counts by itself, without the counts of the others.
const LOCAL_ACCOUNT: Bounds = Bounds { delay_at: 3, lock_at: 6 };
/// The limits of one IP address when each replica counts by itself.
const LOCAL_ADDRESS: Bounds = Bounds { delay_at: 25, lock_at: 30 };

/// Counts attempts. Clones share the counts.
#[derive(Clone)]
pub struct Attempts {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Option<Redis>,
    local: Local,
    clock: Clock,
    admit: Script,
    settle: Script,
}

/// An attempt that was admitted and counts as failed until it is settled.
#[must_use = "an attempt that is not settled stays counted"]
pub struct Reservation {
    inner: Arc<Inner>,
    subjects: Subjects,
    is_shared: bool,
}

#[derive(Clone)]
struct Subjects {
    account: String,
    address: String,
}

impl Attempts {
    /// Counts in Redis if it is configured, otherwise in memory.
    #[must_use]
    pub fn new(redis: Option<Redis>, clock: Clock) -> Self {
        let admit = Script::from_lua(include_str!("attempts.lua"));
        let settle = Script::from_lua(include_str!("settle.lua"));
        Self { inner: Arc::new(Inner { redis, local: Local::default(), clock, admit, settle }) }
    }

    /// Counts an attempt on the account that `name` (as submitted) would be in `tenant`, from `address`.
    ///
    /// # Errors
    /// `too_many_attempts` with the time to wait; nothing is counted then.
    pub async fn reserve(&self, tenant: TenantId, name: &str, address: IpAddr) -> Result<Reservation> {
        let subjects = Subjects::new(tenant, name, address);
        let inner = self.inner.clone();
        let (wait, is_shared) = match inner.ask_redis(&subjects).await {
            Ok(wait) => (wait, true),
            Err(NoAnswer) => (inner.ask_local(&subjects), false),
        };
        if wait.is_zero() {
            return Ok(Reservation { inner, subjects, is_shared });
        }
        metrics::counter!("freehold_attempts_refused_total").increment(1);
        // Whole seconds, rounded up, so that a client that waits for this time is not refused again.
        let retry_after = Duration::from_secs(u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX));
        Err(Error::TooMany { code: "too_many_attempts", retry_after })
    }
}

impl Reservation {
    /// The attempt succeeded: deletes the account's failures, and only this attempt of the address.
    pub async fn succeeded(self) {
        self.settle(true).await;
    }

    /// The password was not checked, because a dependency was unavailable: takes the attempt back.
    pub async fn withdraw(self) {
        self.settle(false).await;
    }

    async fn settle(self, succeeded: bool) {
        let Self { inner, subjects, is_shared } = self;
        if !is_shared {
            if succeeded {
                inner.local.clear(&subjects.account);
            } else {
                inner.local.release(&subjects.account);
            }
            inner.local.release(&subjects.address);
            return;
        }
        let Some(redis) = &inner.redis else { return };
        let keys = vec![subjects.account, subjects.address];
        // Without an answer the attempt stays counted, and its key expires.
        let _ = redis.run::<i64>(&inner.settle, keys, vec![i64::from(succeeded)]).await;
    }
}

impl Inner {
    async fn ask_redis(&self, subjects: &Subjects) -> Result<Duration, NoAnswer> {
        let redis = self.redis.as_ref().ok_or(NoAnswer)?;
        let window = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
        let bounds = [ACCOUNT, ADDRESS].into_iter().flat_map(|bounds| [bounds.delay_at, bounds.lock_at]);
        let arguments = std::iter::once(window).chain(bounds.map(i64::from)).collect();
        let keys = vec![subjects.account.clone(), subjects.address.clone()];
        let wait: i64 = redis.run(&self.admit, keys, arguments).await?;
        Ok(Duration::from_millis(u64::try_from(wait).unwrap_or_default()))
    }

    fn ask_local(&self, subjects: &Subjects) -> Duration {
        let subjects = [(subjects.account.clone(), LOCAL_ACCOUNT), (subjects.address.clone(), LOCAL_ADDRESS)];
        self.local.admit(&subjects, self.clock.now()).err().unwrap_or_default()
    }
}

impl Subjects {
    /// Keys begin with the tenant's id, so that a deleted tenant's keys can be found. Account names are stored as
    /// digests.
    fn new(tenant: TenantId, name: &str, address: IpAddr) -> Self {
        let key = |kind: &str, subject: &str| {
            let digest = digest(&SHA256, format!("{kind}\0{tenant}\0{subject}").as_bytes());
            format!("{}attempts:{kind}:{}", prefix(tenant), BASE64_URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]))
        };
        Self {
            account: key("account", &name.trim().to_lowercase()),
            address: key("address", &network(address).to_string()),
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 customer is given.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Random;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn setting() -> (Attempts, TenantId) {
        let clock = Clock::default();
        (Attempts::new(None, clock.clone()), TenantId::generate(&clock, Random))
    }

    #[tokio::test]
    async fn failures_of_one_name_are_refused_in_whole_seconds_whatever_its_case() {
        let (attempts, tenant) = setting();
        for name in ["ada@example.com", "Ada@Example.com ", "ADA@EXAMPLE.COM"] {
            assert!(attempts.reserve(tenant, name, HOME).await.is_ok());
        }
        let refused = attempts.reserve(tenant, "ada@example.com", HOME).await.err();
        assert!(
            matches!(refused, Some(Error::TooMany { code: "too_many_attempts", retry_after }) if retry_after == Duration::from_secs(1))
        );
        let other = TenantId::generate(&Clock::default(), Random);
        assert!(attempts.reserve(other, "ada@example.com", HOME).await.is_ok(), "another tenant's ada");
    }

    #[tokio::test]
    async fn an_address_that_tries_many_names_is_refused_and_success_does_not_absolve_it() {
        let (attempts, tenant) = setting();
        for name in 0..25 {
            assert!(attempts.reserve(tenant, &name.to_string(), HOME).await.is_ok(), "{name}");
        }
        assert!(attempts.reserve(tenant, "fresh", HOME).await.is_err());
        let elsewhere = "2001:db8::1".parse().unwrap();
        attempts.reserve(tenant, "fresh", elsewhere).await.unwrap().succeeded().await;
        assert!(attempts.reserve(tenant, "fresh", HOME).await.is_err());
    }

    #[tokio::test]
    async fn success_forgets_and_withdrawal_undoes() {
        let (attempts, tenant) = setting();
        for _ in 0..20 {
            attempts.reserve(tenant, "ada", HOME).await.unwrap().withdraw().await;
        }
        for _ in 0..2 {
            let _failed = attempts.reserve(tenant, "ada", HOME).await.unwrap();
        }
        attempts.reserve(tenant, "ada", HOME).await.unwrap().succeeded().await;
        for _ in 0..3 {
            let _failed = attempts.reserve(tenant, "ada", HOME).await.unwrap();
        }
        assert!(attempts.reserve(tenant, "ada", HOME).await.is_err());
    }

    #[test]
    fn keys_hold_the_tenant_and_no_name() {
        let (_, tenant) = setting();
        let keys = Subjects::new(tenant, "ada@example.com", HOME);
        assert!(
            keys.account.starts_with(&format!("fh:{tenant}:")) && keys.address.starts_with(&format!("fh:{tenant}:"))
        );
        // Longer than what digits of a random id and of a digest can spell by chance.
        assert!(!keys.account.contains("ada@") && !keys.address.contains(&HOME.to_string()));
    }

    #[test]
    fn one_ipv6_customer_is_one_address() {
        let parse = |text: &str| network(text.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:1"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:192.0.2.1"), HOME);
    }
}
