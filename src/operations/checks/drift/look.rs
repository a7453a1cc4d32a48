//! One look at one tenant: its schema, read as its own role, against a reference.

use crate::{
    control::servers::Server,
    error::Result,
    migrations::{Difference, Schema},
    operations::{Context, context::address, fleet::tenant_login},
    types::TenantId,
};

/// What a tenant of some versions should look like.
#[derive(Clone, Debug)]
pub(in crate::operations::checks) struct Reference {
    pub(in crate::operations::checks) fingerprint: String,
    /// Its objects. None: an earlier release has recorded the fingerprint alone.
    pub(in crate::operations::checks) schema: Option<Schema>,
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::operations::checks) enum Looked {
    /// The schema is right.
    Same,
    /// These objects differ. None are named where those of the reference are not known.
    Drifted(Vec<Difference>),
    /// Nothing is known.
    Unreadable,
}

/// Reads the tenant's schema and compares it.
pub(in crate::operations::checks) async fn look(
    ctx: &Context,
    server: &Server,
    tenant: TenantId,
    reference: &Reference,
) -> Result<Looked> {
    let (_, mut session) = tenant_login::open(ctx, &address(server)?, tenant, "drift").await?;
    let found = Schema::of(&mut session).await;
    session.close().await;
    let found = found?;
    if found.fingerprint() == reference.fingerprint {
        return Ok(Looked::Same);
    }
    let differences = reference.schema.as_ref().map(|expected| expected.differences(&found));
    Ok(Looked::Drifted(differences.unwrap_or_default()))
}
