//! Crash points: the places at which tests make Freehold fail, hang, stop or die.
//!
//! A point has a name, and all names are collected when the program is linked ([`points`]), so a suite can go
//! through every one and fails when one was never hit. Tests arm a point for one tenant or for all, here or by
//! the environment variable `CRASH_POINTS` of a whole process: `tenant.erase.drop_role.after_effect=abort,…`. One with
//! `CRASH_KINDS=tenant.erase,…` takes up operations of these kinds and no others: several such can work side by side.
//!
//! Without the feature `crash-points`, which no release build has, nothing of this is compiled but the macros,
//! and they expand to nothing.

#[cfg(all(feature = "crash-points", not(debug_assertions)))]
compile_error!("crash points are for tests: a release build must not have them");

#[cfg(feature = "crash-points")]
mod armed;

#[cfg(feature = "crash-points")]
pub use armed::{
    Fired, Mode, Point, arm, arm_from_text, disarm, files, fired, hit, points, release, repeats, restrict_to,
};

/// The crash points of a step, or of its undoing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepPoints {
    /// The step is recorded as begun and has done nothing.
    pub(crate) before_effect: &'static str,
    /// It has done everything, and nobody knows.
    pub(crate) after_effect: &'static str,
    /// It is recorded as done.
    pub(crate) after_record: &'static str,
}

/// Declares the three crash points of a step: `step_points!("tenant.erase", "drop_role")`.
macro_rules! step_points {
    ($($name:expr),+) => {{
        $crate::faults::declare!($($name),+, ".before_effect");
        $crate::faults::declare!($($name),+, ".after_effect");
        $crate::faults::declare!($($name),+, ".after_record");
        $crate::faults::StepPoints {
            before_effect: concat!($($name),+, ".before_effect"),
            after_effect: concat!($($name),+, ".after_effect"),
            after_record: concat!($($name),+, ".after_record"),
        }
    }};
}

/// Passes a crash point on behalf of a tenant: fails, panics, stops or dies there if a test says so.
macro_rules! crash_point {
    ($name:literal, $tenant:expr) => {{
        $crate::faults::declare!($name);
        $crate::faults::pass($name, $tenant).await?
    }};
}

#[cfg(feature = "crash-points")]
macro_rules! declare {
    ($($name:expr),+) => {
        const _: () = {
            inventory::submit! { $crate::faults::Point { name: concat!($($name),+), file: file!() } }
        };
    };
}

#[cfg(not(feature = "crash-points"))]
macro_rules! declare {
    ($($name:expr),+) => {};
}

pub(crate) use {crash_point, declare, step_points};

/// Passes a crash point. Without the feature there are none, and nothing happens.
#[cfg_attr(not(feature = "crash-points"), expect(clippy::unused_async, reason = "with the feature it waits"))]
pub(crate) async fn pass(point: &'static str, tenant: crate::types::TenantId) -> crate::error::Result<()> {
    #[cfg(feature = "crash-points")]
    return hit(point, tenant).await;
    #[cfg(not(feature = "crash-points"))]
    {
        let _ = (point, tenant);
        Ok(())
    }
}

/// Those of these kinds of operations that this process takes up. Without the feature all of them.
pub(crate) fn taken_up(kinds: Vec<String>) -> Vec<String> {
    #[cfg(feature = "crash-points")]
    return armed::restricted(kinds);
    #[cfg(not(feature = "crash-points"))]
    kinds
}

/// Whether a step is to be done twice. Without the feature never.
pub(crate) fn is_doubled(point: &'static str, tenant: crate::types::TenantId) -> bool {
    #[cfg(feature = "crash-points")]
    return repeats(point, tenant);
    #[cfg(not(feature = "crash-points"))]
    {
        let _ = (point, tenant);
        false
    }
}
