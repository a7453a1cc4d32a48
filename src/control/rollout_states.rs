//! The words of the tables `rollouts`, `rollout_waves` and `rollout_tenants`, as types.

use super::words::words;

words! {
    /// Where a rollout is in its life.
    RolloutState, "state of a rollout", {
        /// No replica has begun it yet.
        Planned => "planned",
        /// A wave of it is under way.
        Running => "running",
        /// It goes on when an operator says so.
        Paused => "paused",
        /// It has come to its end, and no tenant failed.
        Succeeded => "succeeded",
        /// It has come to its end, and some tenants failed: they can be tried again.
        Failed => "failed",
        /// An operator has ended it.
        Aborted => "aborted",
    }
}

impl RolloutState {
    /// Whether nothing more happens to it, but that failed tenants may be tried again.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted)
    }

    /// Whether replicas work on it.
    #[must_use]
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Planned | Self::Running)
    }
}

words! {
    /// Where a wave is.
    WaveState, "state of a wave", {
        /// Waves before it are not over.
        Pending => "pending",
        /// Its tenants are being migrated.
        Running => "running",
        /// None of its tenants is waiting or under way.
        Done => "done",
    }
}

words! {
    /// Where a tenant of a rollout is.
    MemberState, "state of a tenant in a rollout", {
        /// It waits for its wave, or to be tried again.
        Pending => "pending",
        /// A replica holds its claim.
        Running => "running",
        /// Its schema is the target's, as its fingerprint has shown.
        Done => "done",
        /// It could not be migrated, and serves as it was.
        Failed => "failed",
        /// It was left out.
        Skipped => "skipped",
    }
}
