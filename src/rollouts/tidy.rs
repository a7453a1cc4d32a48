//! Drops the logins that replicas have left on servers: those that were killed in a rollout, or could not reach a server
//! at its end.
//!
//! Every replica does so once it has started, and after each rollout that it has worked on. A login bears the id of its
//! rollout: only those of rollouts that have ended are dropped.

use super::crew::rollout_of;
use crate::{
    control::{
        rollouts,
        servers::{self, Server},
    },
    error::Result,
    operations::Context,
};

/// Clears every server. False when that has to be tried again.
pub(super) async fn clear(ctx: &Context) -> bool {
    match servers_to_clear(ctx).await {
        Ok(servers) => {
            let mut all = true;
            for server in servers {
                all &= note(&server, clear_server(ctx, &server).await);
            }
            all
        }
        Err(error) => {
            tracing::debug!(error = error.chain(), "it is not known where logins of rollouts may be left");
            false
        }
    }
}

fn note(server: &Server, cleared: Result<usize>) -> bool {
    match cleared {
        Ok(0) => true,
        Ok(count) => {
            tracing::info!(server.id = %server.id, count, "dropped logins that a rollout had left");
            true
        }
        Err(error) => {
            tracing::info!(server.id = %server.id, error = error.chain(), "logins of a rollout may be left on a server");
            false
        }
    }
}

/// All servers, once there has been a rollout.
async fn servers_to_clear(ctx: &Context) -> Result<Vec<Server>> {
    let mut connection = ctx.db.acquire().await?;
    if rollouts::page(&mut connection, None, None, 1).await?.is_empty() {
        return Ok(Vec::new());
    }
    servers::list(&mut connection).await
}

async fn clear_server(ctx: &Context, server: &Server) -> Result<usize> {
    let (_, admin) = ctx.administer(server, "rollouts").await?;
    let mut dropped = 0;
    for login in admin.rollout_logins().await? {
        let Some(id) = rollout_of(&login) else { continue };
        let rollout = rollouts::get(&mut *ctx.db.acquire().await?, id).await?;
        if rollout.is_none_or(|rollout| rollout.state.is_finished()) {
            admin.drop_rollout_login(&login).await?;
            dropped += 1;
        }
    }
    Ok(dropped)
}
