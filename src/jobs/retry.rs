//! What an operator can do with a dead job: have it tried again.

use serde_json::json;

use crate::{
    control::{
        ControlDb,
        audit::{self, Origin},
        jobs::{self, Job},
    },
    error::{Error, Result},
    types::{AuditEventId, Clock, JobId, Random},
};

/// Queues a dead job again. It has the same id, and so a mail of it the same `Message-ID`.
///
/// # Errors
/// `not_found`; `job_not_dead` (409).
pub async fn retry(db: &ControlDb, (clock, random): (&Clock, Random), id: JobId, origin: &Origin) -> Result<Job> {
    let mut txn = db.begin().await?;
    let is_queued = jobs::retry_in_txn(&mut txn, id).await?;
    let job = jobs::get(&mut txn, id).await?.ok_or_else(|| Error::not_found("job"))?;
    if !is_queued {
        return Err(Error::conflict("job_not_dead", "only a dead job can be tried again"));
    }
    let event = AuditEventId::generate(clock, random);
    let details = json!({ "kind": job.kind, "tenant_id": job.tenant_id });
    audit::record_in_txn(&mut txn, event, origin, ("job.retry", &id.to_string()), &details).await?;
    txn.commit().await?;
    Ok(job)
}
