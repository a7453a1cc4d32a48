//! What is recorded of an attempt at a tenant.

use std::time::Duration;

use crate::{
    control::{
        rollout_claims::{Claimed, Record},
        rollout_tenants::MemberState,
    },
    error::Error,
    operations::Context,
};

/// A tenant whose schema is right.
pub(super) fn blank(claimed: &Claimed, took: Duration) -> Record {
    Record {
        tenant_id: claimed.tenant_id,
        generation: claimed.generation,
        state: MemberState::Done,
        pause: Duration::ZERO,
        versions: None,
        adopted: false,
        error: None,
        took,
    }
}

/// A tenant that could not be migrated: it is tried again later if the reason may pass, and has failed otherwise.
pub(super) fn not_done(ctx: &Context, claimed: &Claimed, error: &Error, took: Duration) -> Record {
    let record = Record { error: Some((error.code().to_owned(), error.to_string())), ..blank(claimed, took) };
    if let Some(pause) = pause(ctx, claimed).filter(|_| error.is_transient()) {
        tracing::info!(error = error.chain(), "a tenant cannot be migrated at the moment");
        return Record { state: MemberState::Pending, pause, ..record };
    }
    tracing::warn!(error = error.chain(), "a tenant could not be migrated, and serves as before");
    Record { state: MemberState::Failed, ..record }
}

/// How long before a tenant is tried again whose attempt failed for a passing reason; none when it has been tried for
/// too long.
fn pause(ctx: &Context, claimed: &Claimed) -> Option<Duration> {
    let pace = &ctx.settings.pace;
    let pause = pace.pause_after(claimed.attempts, ctx.random);
    (claimed.since + pause < pace.rollout_patience).then_some(pause)
}
