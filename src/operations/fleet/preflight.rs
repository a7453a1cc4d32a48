//! Checks a registered server again: its version, rights, collations, and connections for all replicas. Changes
//! nothing.

use crate::{
    control::{replicas, servers},
    error::{Error, Result},
    operations::Context,
    servers::{Demands, Finding},
    types::ServerId,
};

/// Returns everything that is wrong with the server. The list is empty when the server is fit.
///
/// # Errors
/// `not_found`. A server that does not answer is a finding, and no error.
pub async fn check(ctx: &Context, id: ServerId) -> Result<Vec<Finding>> {
    let server = servers::get(&mut *ctx.db.acquire().await?, id).await?.ok_or_else(|| Error::not_found("server"))?;
    let demands = demands(ctx, server.connection_budget).await?;
    let looked = async {
        let (_, admin) = ctx.administer(&server, "preflight").await?;
        let mut findings = admin.fitness(demands).await?;
        findings.extend(admin.open_shared_databases().await?.iter().map(|name| Finding::open_to_public(name)));
        Result::<_, Error>::Ok(findings)
    };
    match looked.await {
        Ok(findings) => Ok(findings),
        Err(error) => {
            tracing::warn!(server.id = %id, error = error.chain(), "a server cannot be looked at");
            Ok(vec![Finding::unreachable()])
        }
    }
}

/// What a server with this connection budget needs for the present number of replicas.
pub(in crate::operations) async fn demands(ctx: &Context, connection_budget: i32) -> Result<Demands> {
    let (replicas, connections) = replicas::count(&mut *ctx.db.acquire().await?).await?;
    Ok(Demands { connection_budget, replicas, connections })
}
