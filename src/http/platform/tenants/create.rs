//! `POST /platform/v1/tenants`.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::View;
use crate::{
    control::{
        servers,
        tenants::{Tenant, TenantState},
    },
    error::{Error, FieldError, Result},
    http::{
        AppState,
        extract::{IdempotencyKey, Json, Operator, PreferWait, right},
        problem::Problem,
    },
    operations::{
        engine::wait,
        tenants::provision::{self, Admin, Placement, Started},
    },
    types::{Invalid, OperationId},
};

const ROUTE: &str = "POST /platform/v1/tenants";
/// The plan of a tenant for which none was chosen.
pub(super) const DEFAULT_PLAN: &str = "default";

/// A tenant to be made. Texts are parsed together, so that everything wrong is told at once.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    /// Its public name: 3 to 63 of a-z, 0-9 and hyphen, beginning with a letter.
    #[schema(example = "acme")]
    slug: String,
    /// Its name for people.
    #[schema(example = "Acme Corporation")]
    name: String,
    /// The name of its plan; `default` unless said otherwise.
    plan: Option<String>,
    /// The name of the server that shall hold it; the emptiest unless said otherwise.
    server: Option<String>,
    /// Where the server shall stand.
    region: Option<String>,
    /// Labels that the server shall have, among others.
    #[serde(default)]
    server_labels: BTreeMap<String, String>,
    /// Its first administrator; without one nobody can sign in until somebody is invited.
    admin: Option<NewAdmin>,
}

/// The first administrator of a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAdmin {
    /// Their address.
    #[schema(example = "ada@example.com")]
    email: String,
    /// Their name.
    name: Option<String>,
    /// With a password they can sign in at once; without one they are invited.
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
}

/// A tenant that is, or will be.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Created {
    /// The tenant.
    #[serde(flatten)]
    tenant: View,
    /// The operation that makes it.
    operation_id: OperationId,
    /// How the first administrator joins; null when a password was given. Told in this answer only.
    admin_invitation: Option<InvitationView>,
}

/// An invitation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FirstInvitation)]
struct InvitationView {
    /// The secret that accepts it.
    token: String,
    /// Where it is accepted.
    url: String,
    /// Until when.
    expires_at: DateTime<Utc>,
}

/// Makes a tenant with a database of its own.
///
/// The tenant is recorded at once and made in the background; `Prefer: wait=N` waits up to N seconds for it. A
/// repeated request with the same `Idempotency-Key` gets the same tenant.
#[utoipa::path(post, path = "/platform/v1/tenants", tag = "tenants", operation_id = "create_tenant",
    request_body = NewTenant,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt"),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses(
        (status = 201, description = "The tenant serves", body = Created),
        (status = 202, description = "The tenant is being made; see Location", body = Created),
        (status = 409, description = "The slug is taken, or no server takes tenants", body = Problem),
        (status = 410, description = "It was recorded, and cancelled or deleted meanwhile", body = Problem),
    ),
)]
pub(super) async fn create(
    caller: Operator<right::TenantsWrite>,
    State(state): State<AppState>,
    key: Option<IdempotencyKey>,
    PreferWait(at_most): PreferWait,
    Json(body): Json<NewTenant>,
) -> Result<Response, Problem> {
    let idempotency = caller.idempotency(key, ROUTE, &fingerprint(&body))?;
    let request = parse(body)?;
    let started = provision::start(&state.operations, &request, &caller.origin(), idempotency.as_ref()).await?;
    answer(&state, settled(&state, started, at_most).await?).await
}

/// What was started, once the tenant serves or `at_most` has passed. The tenant is recorded, whatever keeps this
/// request from seeing more.
pub(super) async fn settled(state: &AppState, started: Started, at_most: Duration) -> Result<Started> {
    // One that got a warm database serves already.
    if at_most.is_zero() || started.tenant.state != TenantState::Provisioning {
        return Ok(started);
    }
    if let Err(error) = wait::settled(&state.operations, started.operation, at_most).await {
        tracing::warn!(error = error.chain(), "a request could not wait for its operation");
    }
    // As it was when the wait ended, if that could be read; at least as it was recorded.
    let found = state.operations.tenancy.by_id(started.tenant.id).await?;
    let tenant = found.ok_or_else(|| Error::defect("a tenant that was just made is gone"))?;
    Ok(Started { tenant: Tenant::clone(&tenant), ..started })
}

/// 201 when the tenant serves already, 202 while it is being made.
///
/// # Errors
/// `tenant_gone` when it was undone, or erased, meanwhile.
pub(super) async fn answer(state: &AppState, started: Started) -> Result<Response, Problem> {
    let Started { tenant, operation, invitation } = started;
    let servers = servers::list(&mut *state.operations.db.acquire_for_change().await?).await?;
    if tenant.state == TenantState::Deleted {
        let detail = "the tenant that this request asked for has been cancelled or deleted".to_owned();
        return Err(Error::Gone { code: "tenant_gone", detail }.into());
    }
    let (status, location) = if tenant.state == TenantState::Provisioning {
        (StatusCode::ACCEPTED, format!("/platform/v1/operations/{operation}"))
    } else {
        (StatusCode::CREATED, format!("/platform/v1/tenants/{}", tenant.id))
    };
    let view = View::new(tenant, &servers, state);
    let invitation = invitation.map(|invitation| InvitationView {
        url: format!("{}/v1/auth/invitations/accept", view.url),
        token: invitation.token().to_owned(),
        expires_at: invitation.expires_at,
    });
    let created = Created { tenant: view, operation_id: operation, admin_invitation: invitation };
    // The answer may hold an invitation.
    Ok((status, [(header::LOCATION, location.as_str()), (header::CACHE_CONTROL, "no-store")], Json(created))
        .into_response())
}

/// What makes two requests the same: every field, the password included. Only a keyed digest of it is stored.
fn fingerprint(body: &NewTenant) -> impl Serialize {
    let fields = (&body.slug, &body.name, &body.plan, &body.server, &body.region, &body.server_labels);
    (fields, body.admin.as_ref().map(NewAdmin::fingerprint))
}

impl NewAdmin {
    /// Every field, for a digest.
    pub(super) fn fingerprint(&self) -> impl Serialize {
        let password = self.password.as_ref().map(ExposeSecret::expose_secret);
        (&self.email, &self.name, password)
    }
}

fn parse(body: NewTenant) -> Result<provision::Request> {
    let mut errors = Vec::new();
    let slug = noted(&mut errors, "slug", &body.slug);
    let name = noted(&mut errors, "name", &body.name);
    let admin = body.admin.map(|admin| parse_admin(&mut errors, admin));
    match (slug, name, admin) {
        (Some(slug), Some(name), admin @ (None | Some(Some(_)))) => Ok(provision::Request {
            slug,
            name,
            plan: body.plan.unwrap_or_else(|| DEFAULT_PLAN.to_owned()),
            placement: Placement::Customer { server: body.server, region: body.region, labels: body.server_labels },
            admin: admin.flatten(),
        }),
        _ => Err(Error::Validation(errors)),
    }
}

pub(super) fn parse_admin(errors: &mut Vec<FieldError>, admin: NewAdmin) -> Option<Admin> {
    let email = noted(errors, "admin.email", &admin.email);
    let name = admin.name.map(|name| noted(errors, "admin.name", &name));
    match (email, name) {
        (Some(email), name @ (None | Some(Some(_)))) => {
            Some(Admin { email, name: name.flatten(), password: admin.password })
        }
        _ => None,
    }
}

/// The parsed value, or a note of what is wrong with the field.
pub(super) fn noted<T: FromStr<Err = Invalid>>(errors: &mut Vec<FieldError>, field: &str, text: &str) -> Option<T> {
    text.parse().map_err(|invalid| errors.push(FieldError::invalid(field, invalid))).ok()
}
