//! Counts attempts in this replica's own memory, while Redis is unavailable or not configured.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

use super::bounds::{Bounds, WINDOW};

/// How many subjects are stored at most.
const CAPACITY: usize = 100_000;

/// Failed attempts by subject, which is an account or an address.
#[derive(Debug)]
pub(super) struct Local {
    counts: Mutex<HashMap<String, Count>>,
    capacity: usize,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    tries: u32,
    last: DateTime<Utc>,
    forget: DateTime<Utc>,
}

impl Default for Local {
    fn default() -> Self {
        Self { counts: Mutex::default(), capacity: CAPACITY }
    }
}

impl Local {
    /// Counts one attempt for every subject. If one of them has to wait, counts none and returns how long.
    pub(super) fn admit(&self, subjects: &[(String, Bounds)], now: DateTime<Utc>) -> Result<(), Duration> {
        self.with(|counts| {
            let waits = subjects.iter().filter_map(|(key, bounds)| Some(counts.get(key)?.wait(*bounds, now)));
            match waits.max().filter(|wait| !wait.is_zero()) {
                Some(wait) => return Err(wait),
                None => self.make_room(counts, subjects.len(), now)?,
            }
            for (key, bounds) in subjects {
                let count = counts.entry(key.clone()).or_insert_with(|| Count::new(now));
                count.add(*bounds, now);
            }
            Ok(())
        })
    }

    /// Deletes all attempts of a subject.
    pub(super) fn clear(&self, key: &str) {
        self.with(|counts| counts.remove(key));
    }

    /// Takes back one attempt of a subject.
    pub(super) fn release(&self, key: &str) {
        self.with(|counts| {
            if let Some(count) = counts.get_mut(key) {
                count.tries = count.tries.saturating_sub(1);
            }
        });
    }

    /// When the memory is full, removes expired subjects first, then those with a single attempt. If that is not
    /// enough, no attempt is admitted: somebody who floods this replica with names must not make it drop the locks.
    fn make_room(
        &self,
        counts: &mut HashMap<String, Count>,
        needed: usize,
        now: DateTime<Utc>,
    ) -> Result<(), Duration> {
        let is_full = |counts: &HashMap<_, _>| counts.len() + needed > self.capacity;
        if is_full(counts) {
            counts.retain(|_, count| count.forget > now);
        }
        if is_full(counts) {
            counts.retain(|_, count| count.tries > 1);
        }
        if is_full(counts) { Err(Duration::from_secs(1)) } else { Ok(()) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<String, Count>) -> T) -> T {
        act(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Count {
    fn new(now: DateTime<Utc>) -> Self {
        Self { tries: 0, last: now, forget: now + window() }
    }

    fn wait(self, bounds: Bounds, now: DateTime<Utc>) -> Duration {
        if self.forget <= now {
            return Duration::ZERO;
        }
        // When the clock was set back, nobody waits longer than the whole pause.
        bounds.pause(self.tries).saturating_sub((now - self.last).to_std().unwrap_or_default())
    }

    fn add(&mut self, bounds: Bounds, now: DateTime<Utc>) {
        if self.forget <= now {
            *self = Self::new(now);
        }
        self.tries += 1;
        self.last = now;
        if self.tries >= bounds.lock_at {
            self.forget = now + window();
        }
    }
}

fn window() -> TimeDelta {
    TimeDelta::from_std(WINDOW).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Clock;

    const BOUNDS: Bounds = Bounds { delay_at: 3, lock_at: 5 };

    fn subject(name: &str) -> [(String, Bounds); 1] {
        [(name.to_owned(), BOUNDS)]
    }

    #[test]
    fn delays_grow_and_then_the_subject_is_locked_for_the_window() {
        let (local, clock) = (Local::default(), Clock::default());
        let admit = || local.admit(&subject("a"), clock.now());
        assert!((0..3).all(|_| admit().is_ok()));
        assert!(admit().is_err_and(|wait| wait <= Duration::from_secs(1)));
        clock.advance(TimeDelta::seconds(1));
        assert!(admit().is_ok());
        assert!(admit().is_err_and(|wait| wait > Duration::from_secs(1) && wait <= Duration::from_secs(2)));
        clock.advance(TimeDelta::seconds(2));
        assert!(admit().is_ok(), "the fifth");
        assert!(admit().is_err_and(|wait| wait + Duration::from_secs(2) > WINDOW));
        clock.advance(TimeDelta::minutes(14));
        assert!(admit().is_err());
        assert!(local.admit(&subject("b"), clock.now()).is_ok(), "others are not concerned");
        clock.advance(TimeDelta::minutes(1));
        assert!(admit().is_ok());
    }

    #[test]
    fn a_refused_try_is_counted_for_no_subject() {
        let (local, now) = (Local::default(), Clock::default().now());
        let both = [("locked".to_owned(), BOUNDS), ("address".to_owned(), BOUNDS)];
        assert!((0..3).all(|_| local.admit(&subject("locked"), now).is_ok()));
        assert!((0..10).all(|_| local.admit(&both, now).is_err()));
        assert!((0..3).all(|_| local.admit(&subject("address"), now).is_ok()));
    }

    #[test]
    fn exactly_the_allowed_number_of_two_hundred_parallel_tries_is_admitted() {
        let (local, now) = (Local::default(), Clock::default().now());
        let admitted = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..200).map(|_| scope.spawn(|| local.admit(&subject("a"), now).is_ok())).collect();
            tries.into_iter().map(|thread| thread.join().unwrap()).filter(|admitted| *admitted).count()
        });
        assert_eq!(admitted, 3);
    }

    #[test]
    fn clearing_and_releasing_take_tries_back() {
        let (local, now) = (Local::default(), Clock::default().now());
        assert!((0..3).all(|_| local.admit(&subject("a"), now).is_ok()));
        local.release("a");
        assert!(local.admit(&subject("a"), now).is_ok());
        local.clear("a");
        assert!((0..3).all(|_| local.admit(&subject("a"), now).is_ok()));
    }

    #[test]
    fn a_flood_of_names_cannot_make_it_forget_a_lock() {
        let local = Local { counts: Mutex::default(), capacity: 4 };
        let now = Clock::default().now();
        assert!((0..3).all(|_| local.admit(&subject("victim"), now).is_ok()));
        for name in 0..100 {
            assert!(local.admit(&subject(&name.to_string()), now).is_ok());
        }
        assert!(local.admit(&subject("victim"), now).is_err());
        assert!(local.with(|counts| counts.len()) <= 4);
    }
}
