//! `POST /platform/v1/servers/{id}/drain`.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::View;
use crate::{
    http::{
        AppState,
        extract::{Json, NoBody, Operator, Path, right},
        problem::Problem,
    },
    operations::fleet::drain,
    types::{ServerId, TenantId},
};

/// Who would have to leave a server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Drained {
    /// The server, which takes no new tenants from now on.
    server: View,
    /// How many tenants have a database there.
    count: i32,
    /// What those listed take on disk together, in bytes; null when the size of one is not known.
    bytes: Option<i64>,
    /// The first 200 of them, the oldest first.
    tenants: Vec<Leaving>,
    /// Where they would fit, all of them.
    fits: Vec<Fit>,
    /// How many would find no server.
    left: i64,
}

/// A tenant that would have to leave.
#[derive(Debug, Serialize, ToSchema)]
struct Leaving {
    /// Its id.
    id: TenantId,
    /// Its public name.
    slug: String,
    /// What it takes on disk; null when that is not known.
    bytes: Option<i64>,
}

/// How many tenants a server would take.
#[derive(Debug, Serialize, ToSchema)]
struct Fit {
    /// Its name.
    server: String,
    /// As tenants are placed: the least full first.
    tenants: i64,
}

impl From<drain::Drain> for Drained {
    fn from(drain: drain::Drain) -> Self {
        let leaving =
            drain.tenants.into_iter().map(|(resident, bytes)| Leaving { id: resident.id, slug: resident.slug, bytes });
        let tenants: Vec<_> = leaving.collect();
        Self {
            count: drain.server.tenants,
            bytes: tenants.iter().map(|tenant| tenant.bytes).sum(),
            tenants,
            fits: drain.fits.into_iter().map(|(server, tenants)| Fit { server, tenants }).collect(),
            left: drain.left,
            server: drain.server.into(),
        }
    }
}

/// Cordons a server and tells who would have to leave it. Nobody is moved.
#[utoipa::path(post, path = "/platform/v1/servers/{id}/drain", tag = "servers", operation_id = "drain_server",
    params(("id" = ServerId, Path)), responses(
    (status = 200, description = "Who would have to leave, and where they would fit", body = Drained),
    (status = 409, description = "It is the platform server", body = Problem),
))]
pub(super) async fn drain(
    caller: Operator<right::ServersWrite>,
    State(state): State<AppState>,
    Path(id): Path<ServerId>,
    _: NoBody,
) -> Result<Json<Drained>, Problem> {
    Ok(Json(drain::drain(&state.operations, id, &caller.origin()).await?.into()))
}
