//! `POST /platform/v1/tenants/{id}/act-as` and `/platform/v1/visits`: operators act as somebody of a tenant for a while.

use std::time::Duration;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    error::{Error, FieldError, Result},
    http::{
        AppState,
        extract::{Json, NoBody, Operator, Path, right},
        problem::Problem,
    },
    identity::visits::{self, LONGEST, NewVisit, SHORTEST, Whom},
    types::{Reason, RoleName, TenantId, UserId, VisitId},
};

/// How many characters a reason has at least.
const SHORTEST_REASON: usize = 10;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(act_as)).routes(routes!(end))
}

/// As whom to act, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewVisit)]
struct Request {
    /// As this user; or else `role`.
    user_id: Option<UserId>,
    /// As the user who has had an account with this role for longest; or else `user_id`.
    #[schema(value_type = Option<String>)]
    role: Option<RoleName>,
    /// Why: ten characters at least. The tenant's administrators read it in their audit log.
    #[schema(value_type = String)]
    reason: Reason,
    /// For how long: 60 to 900, which it is unless it is there.
    #[schema(minimum = 60, maximum = 900)]
    seconds: Option<u64>,
}

impl Request {
    fn parsed(self) -> Result<NewVisit> {
        let whom = match (self.user_id, self.role) {
            (Some(user), None) => Whom::User(user),
            (None, Some(role)) => Whom::Role(role),
            (None, None) => return Err(FieldError::new("user_id", "required", "say user_id or role").into()),
            (Some(_), Some(_)) => {
                return Err(FieldError::new("role", "invalid_value", "say user_id or role, and not both").into());
            }
        };
        if self.reason.as_str().chars().count() < SHORTEST_REASON {
            return Err(FieldError::new("reason", "invalid_length", "must have at least 10 characters").into());
        }
        let lifetime = self.seconds.map_or(LONGEST, Duration::from_secs);
        if !(SHORTEST..=LONGEST).contains(&lifetime) {
            return Err(FieldError::new("seconds", "invalid_range", "must be from 60 to 900").into());
        }
        Ok(NewVisit { whom, reason: self.reason.as_str().to_owned(), lifetime })
    }
}

/// A visit that has begun.
#[derive(Serialize, ToSchema)]
#[schema(as = Visit)]
struct View {
    /// Its id.
    id: VisitId,
    /// Sent as `Authorization: Bearer …` to the tenant's own address. Shown once.
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// How long it lives, in seconds. Nothing prolongs it.
    expires_in: u64,
    /// The same as a time.
    expires_at: DateTime<Utc>,
    /// As whom.
    user_id: UserId,
    /// The role that they have.
    role: String,
}

/// Acts as somebody of a tenant, for fifteen minutes at most.
///
/// The token reads and does for the product what the user may. It changes nothing about people: no password, factor, key,
/// role, invitation or setting.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/act-as", tag = "visits", operation_id = "act_as",
    request_body = Request, params(("id" = TenantId, Path)), responses(
    (status = 200, description = "It has begun; the tenant's audit log says so", body = View),
    (status = 401, description = "insufficient_user_authentication: see `step-up`", body = Problem),
    (status = 403, description = "session_required for API keys; tenant_suspended", body = Problem),
    (status = 410, description = "The tenant has been deleted", body = Problem),
))]
async fn act_as(
    caller: Operator<right::TenantsVisit>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
    Json(body): Json<Request>,
) -> Result<Response, Problem> {
    let new = body.parsed()?;
    let tenant = state.tenancy.by_id(id).await?.filter(|tenant| !tenant.is_platform);
    let tenant = tenant.ok_or_else(|| Error::not_found("tenant"))?;
    let begun = visits::begin(&state.identity, caller.caller(), &tenant, &new).await?;
    let view = View {
        id: begun.id,
        access_token: begun.access_token.expose_secret().to_owned(),
        token_type: "Bearer",
        expires_in: new.lifetime.as_secs(),
        expires_at: state.clock.now() + new.lifetime,
        user_id: begun.user,
        role: begun.role,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// Ends a visit, whoever began it: its token is worth nothing on any replica within a second.
#[utoipa::path(delete, path = "/platform/v1/visits/{id}", tag = "visits", operation_id = "end_visit",
    params(("id" = VisitId, Path)), responses((status = 204, description = "It has ended")))]
async fn end(
    caller: Operator<right::TenantsVisit>,
    State(state): State<AppState>,
    Path(id): Path<VisitId>,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    visits::end(&state.identity, caller.caller(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
