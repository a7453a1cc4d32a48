//! `/v1/invitations`, and how somebody who has an account accepts one.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::created_with;
use crate::{
    http::{
        AppState,
        extract::{
            IdempotencyKey, Insider, Json, List, Listing, NoBody, Page, Path, SignedIn,
            people_right::{InvitationsRead, InvitationsWrite},
        },
        problem::Problem,
    },
    identity::{
        invitations::{self, Filter, Invitation, NewInvitation, State as InvitationState},
        people::User,
    },
    types::{Email, InvitationId},
};

const COLLECTION: &str = "/v1/invitations";

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, revoke))
        .routes(routes!(resend))
        .routes(routes!(join))
}

/// An invitation with its secret, for whoever passes it on to the invited person.
#[derive(Debug, Serialize, ToSchema)]
struct IssuedInvitation {
    #[serde(flatten)]
    invitation: Invitation,
    /// The secret. Only this answer has it: whoever repeats the request gets the invitation without.
    token: Option<String>,
    /// Where the secret is accepted.
    url: Option<String>,
}

/// Where somebody accepts: at the tenant's own address, or at the admin listener for operators.
fn url(caller: &SignedIn, state: &AppState) -> String {
    let path = "/v1/auth/invitations/accept";
    if caller.tenant.is_platform {
        path.to_owned()
    } else {
        format!("{}{path}", (state.public_url)(&caller.tenant.slug))
    }
}

/// Which invitations are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListFilter {
    /// Only those in this state.
    #[param(inline)]
    state: Option<InvitationState>,
    /// Only those for this address.
    #[param(inline)]
    email: Option<Email>,
}

/// Lists invitations, the newest first.
#[utoipa::path(get, path = COLLECTION, tag = "invitations", operation_id = "list_invitations",
    params(Page, ListFilter),
    responses((status = 200, description = "A page of invitations", body = Listing<Invitation>)))]
async fn list(
    caller: Insider<InvitationsRead>,
    State(state): State<AppState>,
    List { page, filter }: List<ListFilter>,
) -> Result<Json<Listing<Invitation>>, Problem> {
    let filter = Filter { state: filter.state, email: filter.email };
    let after = page.after::<InvitationId>()?;
    let found = invitations::list(&state.identity, caller.tenant.id, &filter, after, page.fetch()).await?;
    Ok(Json(Listing::new(found, &page, |last| last.id)?))
}

/// Invites somebody to a role that grants no more than the caller holds. The answer has the secret.
#[utoipa::path(post, path = COLLECTION, tag = "invitations", operation_id = "create_invitation",
    request_body = NewInvitation,
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt")),
    responses(
        (status = 201, description = "They are invited", body = IssuedInvitation,
            headers(("Location" = String, description = "Where it can be read"))),
        (status = 409, description = "The address has an open invitation", body = Problem),
    ))]
async fn create(
    caller: Insider<InvitationsWrite>,
    State(state): State<AppState>,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewInvitation>,
) -> Result<Response, Problem> {
    let idempotency = caller.idempotency(key, COLLECTION, &new)?;
    let lifetime = state.operations.invitation;
    let made = invitations::create(&state.identity, caller.caller(), &new, lifetime, idempotency.as_ref()).await?;
    let url = url(&caller, &state);
    Ok(created_with(made, COLLECTION, move |fields, token| {
        fields.insert("token".to_owned(), token.into());
        fields.insert("url".to_owned(), url.into());
    }))
}

/// One invitation.
#[utoipa::path(get, path = "/v1/invitations/{id}", tag = "invitations", operation_id = "get_invitation",
    params(("id" = InvitationId, Path)),
    responses((status = 200, description = "The invitation", body = Invitation)))]
async fn get(
    caller: Insider<InvitationsRead>,
    State(state): State<AppState>,
    Path(id): Path<InvitationId>,
) -> Result<Json<Invitation>, Problem> {
    Ok(Json(invitations::get(&state.identity, caller.tenant.id, id).await?))
}

/// Gives an open or expired invitation another secret, which is in the answer. The one before is void.
#[utoipa::path(post, path = "/v1/invitations/{id}/resend", tag = "invitations", operation_id = "resend_invitation",
    params(("id" = InvitationId, Path)),
    responses(
        (status = 200, description = "The invitation with its new secret", body = IssuedInvitation),
        (status = 409, description = "It was accepted or revoked", body = Problem),
    ))]
async fn resend(
    caller: Insider<InvitationsWrite>,
    State(state): State<AppState>,
    Path(id): Path<InvitationId>,
    _: NoBody,
) -> Result<Response, Problem> {
    let lifetime = state.operations.invitation;
    let (invitation, token) = invitations::resend(&state.identity, caller.caller(), id, lifetime).await?;
    let (token, url) = (Some(token.expose_secret().to_owned()), Some(url(&caller, &state)));
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(IssuedInvitation { invitation, token, url })).into_response())
}

/// Revokes an invitation that nobody has accepted.
#[utoipa::path(delete, path = "/v1/invitations/{id}", tag = "invitations", operation_id = "revoke_invitation",
    params(("id" = InvitationId, Path)),
    responses(
        (status = 204, description = "It is void"),
        (status = 409, description = "It was accepted", body = Problem),
    ))]
async fn revoke(
    caller: Insider<InvitationsWrite>,
    State(state): State<AppState>,
    Path(id): Path<InvitationId>,
    _: NoBody,
) -> Result<StatusCode, Problem> {
    invitations::revoke(&state.identity, caller.caller(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The secret of an invitation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewToken)]
struct Joining {
    /// The invitation's secret.
    #[schema(value_type = String, format = Password)]
    token: SecretString,
}

/// Accepts an invitation for the account that is signed in: the caller's role becomes the invited one.
#[utoipa::path(post, path = "/v1/auth/invitations/join", tag = "auth", operation_id = "join_invitation",
    request_body = Joining,
    responses(
        (status = 200, description = "The caller as they are now", body = User),
        (status = 403, description = "It is for another address", body = Problem),
        (status = 409, description = "The caller is the last owner", body = Problem),
    ))]
async fn join(
    caller: SignedIn,
    State(state): State<AppState>,
    Json(body): Json<Joining>,
) -> Result<Json<User>, Problem> {
    Ok(Json(invitations::join(&state.identity, caller.caller(), &body.token).await?))
}
