//! `POST /platform/v1/servers/{id}/rotate-credentials`.

use axum::extract::State;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::View;
use crate::{
    http::{
        AppState,
        extract::{Json, JsonIfAny, Operator, Path, right},
        problem::Problem,
    },
    operations::fleet::rotate_server,
    types::ServerId,
};

/// How the administrative password is replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialRotation {
    /// The password that the role has been given already; without it Freehold makes one and gives it to the role.
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
}

/// Gives the server's administrative role another password, or takes over one that it was given.
#[utoipa::path(post, path = "/platform/v1/servers/{id}/rotate-credentials", tag = "servers",
    operation_id = "rotate_server_credentials", request_body = CredentialRotation, params(("id" = ServerId, Path)),
    responses(
        (status = 200, description = "The server, reached with the password", body = View),
        (status = 409, description = "The role is the control database's own", body = Problem),
    ),
)]
pub(super) async fn credentials(
    caller: Operator<right::ServersWrite>,
    State(state): State<AppState>,
    Path(id): Path<ServerId>,
    JsonIfAny(body): JsonIfAny<CredentialRotation>,
) -> Result<Json<View>, Problem> {
    let origin = caller.origin();
    let server = match body.password {
        Some(password) => rotate_server::take_over(&state.operations, id, password, &origin).await?,
        None => rotate_server::rotate(&state.operations, id, &origin).await?,
    };
    Ok(Json(server.into()))
}
