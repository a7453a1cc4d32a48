//! `POST /platform/v1/tenants/{id}/clone`.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::create::{Created, answer, noted, settled};
use crate::{
    error::{Error, Result},
    http::{
        AppState,
        extract::{IdempotencyKey, Json, Operator, Path, PreferWait, right},
        problem::Problem,
    },
    operations::tenants::clone,
    types::TenantId,
};

const ROUTE: &str = "POST /platform/v1/tenants/{id}/clone";

/// The tenant that a clone becomes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewClone {
    /// Its public name: 3 to 63 of a-z, 0-9 and hyphen, beginning with a letter.
    #[schema(example = "acme-staging")]
    slug: String,
    /// Its name for people.
    #[schema(example = "Acme, for trying things out")]
    name: String,
}

/// Makes a new tenant with the rows that another one holds, which goes on serving.
///
/// People can sign in with the passwords that they have there; sessions, API keys, invitations and the audit log are
/// not carried over. A repeated request with the same `Idempotency-Key` gets the same tenant.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/clone", tag = "tenants", operation_id = "clone_tenant",
    request_body = NewClone,
    params(
        ("id" = TenantId, Path, description = "The tenant whose rows the new one gets"),
        ("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt"),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses(
        (status = 201, description = "The new tenant serves", body = Created),
        (status = 202, description = "The new tenant is being made; see Location", body = Created),
        (status = 409, description = "The slug is taken, or another operation on the tenant is under way",
            body = Problem),
        (status = 410, description = "It has been deleted", body = Problem),
    ),
)]
pub(super) async fn clone(
    caller: Operator<right::TenantsWrite>,
    State(state): State<AppState>,
    wishes: (Option<IdempotencyKey>, PreferWait),
    Path(source): Path<TenantId>,
    Json(body): Json<NewClone>,
) -> Result<Response, Problem> {
    let (key, PreferWait(at_most)) = wishes;
    let idempotency = caller.idempotency(key, ROUTE, &(source, &body.slug, &body.name))?;
    let request = parse(source, &body)?;
    let started = clone::start(&state.operations, &request, &caller.origin(), idempotency.as_ref()).await?;
    answer(&state, settled(&state, started, at_most).await?).await
}

fn parse(source: TenantId, body: &NewClone) -> Result<clone::Request> {
    let mut errors = Vec::new();
    match (noted(&mut errors, "slug", &body.slug), noted(&mut errors, "name", &body.name)) {
        (Some(slug), Some(name)) => Ok(clone::Request { source, slug, name }),
        _ => Err(Error::Validation(errors)),
    }
}
