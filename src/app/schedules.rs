//! What a replica does when it is time, unless another one does.

use crate::{
    config::{Config, OperationsConfig},
    jobs::schedule::Schedule,
    operations::{
        Context,
        checks::schedule::{self, Intervals},
        fleet::warm,
        janitor,
        tenants::rotate_signing_keys,
    },
};

/// All schedules of a replica with this configuration.
pub(super) fn all(ctx: &Context, config: &Config) -> Vec<Schedule> {
    let OperationsConfig { fsck_interval: fsck, isolation_interval: isolation, drift_interval: drift, .. } =
        config.operations;
    let OperationsConfig { concurrency, warm_min: min, warm_max: max, .. } = config.operations;
    let mut schedules = schedule::schedules(ctx, Intervals { fsck, isolation, drift });
    if ctx.settings.janitor {
        schedules.extend(janitor::schedules(ctx));
    }
    // Databases are kept ready by replicas that can make them.
    if concurrency > 0 {
        schedules.push(warm::schedule(ctx, warm::Bounds { min, max }));
    }
    schedules.push(rotate_signing_keys::keep_young(ctx, config.identity.signing_key_age));
    schedules
}
