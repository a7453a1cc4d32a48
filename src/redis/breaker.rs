//! A circuit breaker: after several failures in a short time it refuses all calls for a while. Then it lets one call
//! through, whose result decides.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many failures within [`WINDOW`] open the breaker (promises.md §2).
const THRESHOLD: u32 = 5;
const WINDOW: Duration = Duration::from_secs(1);
/// How long it stays open before it lets one call through.
const PAUSE: Duration = Duration::from_secs(1);

/// Decides whether a failing dependency is tried at all. Closed at first.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    first_failure: Option<Instant>,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether the caller may try. When an open breaker's pause is over, exactly one caller may. The others are refused
    /// until that call succeeds, or until the next pause is over.
    pub(super) fn permits(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.open_until = Some(now + PAUSE);
                true
            }
        }
    }

    /// Closes the breaker. Returns whether it was open.
    pub(super) fn succeeded(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *state).open_until.is_some()
    }

    /// Counts a failure. Returns whether this failure opened the breaker.
    pub(super) fn failed(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.open_until.is_some() {
            return false;
        }
        if state.first_failure.is_none_or(|first| now.duration_since(first) > WINDOW) {
            state.failures = 0;
            state.first_failure = Some(now);
        }
        state.failures += 1;
        if state.failures < THRESHOLD {
            return false;
        }
        state.open_until = Some(now + PAUSE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_within_a_second_open_it_and_one_success_closes_it() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        assert!((0..4).all(|_| !breaker.failed(start)));
        assert!(breaker.permits(start));
        assert!(breaker.failed(start), "the fifth opens it");
        assert!(!breaker.permits(start));
        let later = start + PAUSE;
        assert!(breaker.permits(later), "one try after the pause");
        assert!(!breaker.permits(later), "and only one");
        assert!(breaker.succeeded());
        assert!(breaker.permits(later));
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        for step in 0..20 {
            assert!(!breaker.failed(start + Duration::from_millis(1_100) * step));
        }
    }
}
