//! Prepares the drain of a server. The server is cordoned, so that it takes no new tenants. The response lists its
//! tenants, their sizes, and the servers that have room for them. No tenant is moved.

use std::collections::HashMap;

use super::{placement, update_server};
use crate::{
    control::{
        audit::Origin,
        servers::{self, Resident, Server},
    },
    error::{Error, Result},
    operations::Context,
    types::ServerId,
};

/// How many tenants are listed at most.
const LISTED: i64 = 200;

/// The tenants that would have to leave a server.
#[derive(Debug)]
pub struct Drain {
    /// The server, cordoned.
    pub server: Server,
    /// The first tenants, the oldest first, each with its size on disk in bytes, if it is known.
    pub tenants: Vec<(Resident, Option<i64>)>,
    /// How many of the tenants each other server has room for today, by the server's name.
    pub fits: Vec<(String, i64)>,
    /// How many tenants no server has room for.
    pub left: i64,
}

/// Cordons the server, and returns the tenants that would have to leave it. A repeated call changes nothing.
///
/// # Errors
/// `not_found`; `platform_server` (409).
pub async fn drain(ctx: &Context, id: ServerId, origin: &Origin) -> Result<Drain> {
    let server = update_server::cordon(ctx, id, true, "server.drain", origin).await?;
    let (residents, candidates) = {
        let mut connection = ctx.db.acquire().await?;
        let residents = servers::residents(&mut connection, id, LISTED).await?;
        (residents, servers::candidates(&mut connection).await?)
    };
    let sizes = match sizes(ctx, &server, &residents).await {
        Ok(sizes) => sizes,
        Err(error) => {
            tracing::warn!(server.id = %id, error = error.chain(), "the sizes of databases are not known");
            HashMap::new()
        }
    };
    // Counted one by one, which takes seconds for a hundred thousand tenants on a hundred servers.
    let arrivals = i64::from(server.tenants);
    let spread = tokio::task::spawn_blocking(move || placement::spread(candidates, arrivals));
    let (fits, left) = spread.await.map_err(Error::internal)?;
    let tenants = residents.into_iter().map(|resident| {
        let bytes = sizes.get(&resident.id.db_name().to_string()).copied();
        (resident, bytes)
    });
    Ok(Drain { tenants: tenants.collect(), server, fits, left })
}

async fn sizes(ctx: &Context, server: &Server, residents: &[Resident]) -> Result<HashMap<String, i64>> {
    let (_, admin) = ctx.administer(server, "drain").await?;
    admin.database_sizes(&residents.iter().map(|resident| resident.id.db_name()).collect::<Vec<_>>()).await
}
