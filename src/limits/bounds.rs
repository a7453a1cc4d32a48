//! How many failed attempts are allowed, and how long the next one has to wait.

use std::time::Duration;

/// How long failures count, and how long a lock lasts (design.md §6).
pub(super) const WINDOW: Duration = Duration::from_mins(15);

/// After how many failed attempts delays begin, and after how many the lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) delay_at: u32,
    pub(super) lock_at: u32,
}

impl Bounds {
    /// How long the next attempt has to wait after the last of `tries`.
    pub(super) fn pause(self, tries: u32) -> Duration {
        if tries < self.delay_at {
            return Duration::ZERO;
        }
        if tries >= self.lock_at {
            return WINDOW;
        }
        Duration::from_secs(1 << (tries - self.delay_at).min(10)).min(WINDOW)
    }
}
