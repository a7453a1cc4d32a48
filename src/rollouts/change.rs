//! One change of a rollout's row, in one transaction of the control database. It can only be committed once it is in the
//! audit log.

use serde_json::Value;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{
    control::{
        audit::{self, Origin},
        rollouts::{self, Rollout},
    },
    error::{Error, Result},
    operations::Context,
    types::{AuditEventId, RolloutId},
};

/// A rollout's row, locked for a change.
pub(super) struct Change<'a> {
    ctx: &'a Context,
    txn: Transaction<'static, Postgres>,
    /// The rollout as it was when the change began.
    pub(super) rollout: Rollout,
    origin: &'a Origin,
}

impl<'a> Change<'a> {
    /// Locks the rollout's row.
    ///
    /// # Errors
    /// `not_found`.
    pub(super) async fn begin(ctx: &'a Context, id: RolloutId, origin: &'a Origin) -> Result<Self> {
        let mut txn = ctx.db.begin().await?;
        let found = rollouts::lock_in_txn(&mut txn, id).await?;
        Ok(Self { ctx, txn, rollout: found.ok_or_else(|| Error::not_found("rollout"))?, origin })
    }

    /// The transaction, for the statements of the change. It cannot be committed through this reference.
    pub(super) fn txn(&mut self) -> &mut PgConnection {
        &mut self.txn
    }

    /// Writes the change to the audit log, as `rollout.pause`. After that it can only be committed.
    pub(super) async fn record(mut self, action: &str, details: &Value) -> Result<Recorded> {
        let target = self.rollout.id.to_string();
        audit_in_txn(self.ctx, &mut self.txn, self.origin, (action, &target), details).await?;
        Ok(Recorded { txn: self.txn })
    }

    /// Ends without a change.
    pub(super) async fn leave(self) -> Result<()> {
        Ok(self.txn.rollback().await?)
    }
}

/// A change that is in the audit log.
pub(super) struct Recorded {
    txn: Transaction<'static, Postgres>,
}

impl Recorded {
    /// Commits the change.
    pub(super) async fn commit(self) -> Result<()> {
        Ok(self.txn.commit().await?)
    }
}

/// Writes a line of the audit log.
pub(super) async fn audit_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    origin: &Origin,
    subject: (&str, &str),
    details: &Value,
) -> Result<()> {
    let event = AuditEventId::generate(&ctx.clock, ctx.random);
    audit::record_in_txn(txn, event, origin, subject, details).await
}
