//! What is decided about the people of a tenant, and about operators.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        AppState,
        extract::{Change, ETag, IfMatch, Insider, Json},
        problem::Problem,
    },
    identity::{
        people_right,
        policies::{self, CharacterClass, Decisions, Registration, WhenFull},
    },
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get, update))
}

/// Shows what is decided.
#[utoipa::path(get, path = "/v1/settings", tag = "settings", operation_id = "get_settings",
    responses((status = 200, description = "What is decided", body = Decisions, headers(("ETag" = String)))))]
async fn get(caller: Insider<people_right::SettingsRead>, State(state): State<AppState>) -> Result<Response, Problem> {
    let (decisions, version) = policies::get(&state.identity, &caller.tenant).await?;
    Ok((ETag(version), Json(decisions)).into_response())
}

/// What is decided otherwise. What is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SettingsPatch)]
struct Patch {
    /// Who may make an account for themselves.
    #[schema(value_type = Registration, required = false)]
    #[serde(default)]
    registration: Change<Registration>,
    /// The domains whose addresses may register, in lower case and in ASCII, where that goes by domain.
    #[schema(value_type = Vec<String>, required = false, max_items = 100)]
    #[serde(default)]
    registration_domains: Change<Vec<String>>,
    /// Whether nobody signs in before their e-mail address is verified.
    #[schema(value_type = bool, required = false)]
    #[serde(default)]
    require_verified_email: Change<bool>,
    /// How long a session lives without use; null: as long as the operators say.
    #[schema(value_type = Option<u32>, minimum = 900, maximum = 7_776_000)]
    #[serde(default)]
    session_idle_seconds: Change<Option<u32>>,
    /// How long a session lives in any case; null: ninety days.
    #[schema(value_type = Option<u32>, minimum = 900, maximum = 7_776_000)]
    #[serde(default)]
    session_lifetime_seconds: Change<Option<u32>>,
    /// How many sessions somebody may have at once.
    #[schema(value_type = u32, required = false, minimum = 1, maximum = 100)]
    #[serde(default)]
    sessions_per_user: Change<u32>,
    /// What happens when somebody signs in who has so many.
    #[schema(value_type = WhenFull, required = false)]
    #[serde(default)]
    session_limit: Change<WhenFull>,
    /// How many characters a password has at least: 15, or 8 where a second factor is required.
    #[schema(value_type = u16, required = false, minimum = 8, maximum = 128)]
    #[serde(default)]
    password_min_length: Change<u16>,
    /// Of which kinds a password must have a character.
    #[schema(value_type = Vec<CharacterClass>, required = false)]
    #[serde(default)]
    password_classes: Change<Vec<CharacterClass>>,
    /// How many of somebody's former passwords they may not choose again.
    #[schema(value_type = u8, required = false, maximum = 24)]
    #[serde(default)]
    password_history: Change<u8>,
    /// Passwords that were chosen before this time have to be changed at the next sign-in; null: none has.
    #[schema(value_type = Option<DateTime<Utc>>)]
    #[serde(default)]
    passwords_valid_from: Change<Option<DateTime<Utc>>>,
    /// Whether everybody needs a second factor.
    #[schema(value_type = bool, required = false)]
    #[serde(default)]
    mfa_required: Change<bool>,
    /// How many days a deleted user can be brought back before they are erased.
    #[schema(value_type = u16, required = false, minimum = 1, maximum = 3_650)]
    #[serde(default)]
    deleted_user_days: Change<u16>,
}

impl Patch {
    fn apply(self, decisions: &mut Decisions) {
        self.registration.apply(&mut decisions.registration);
        self.registration_domains.apply(&mut decisions.registration_domains);
        self.require_verified_email.apply(&mut decisions.require_verified_email);
        self.session_idle_seconds.apply(&mut decisions.session_idle_seconds);
        self.session_lifetime_seconds.apply(&mut decisions.session_lifetime_seconds);
        self.sessions_per_user.apply(&mut decisions.sessions_per_user);
        self.session_limit.apply(&mut decisions.session_limit);
        self.password_min_length.apply(&mut decisions.password_min_length);
        self.password_classes.apply(&mut decisions.password_classes);
        self.password_history.apply(&mut decisions.password_history);
        self.passwords_valid_from.apply(&mut decisions.passwords_valid_from);
        self.mfa_required.apply(&mut decisions.mfa_required);
        self.deleted_user_days.apply(&mut decisions.deleted_user_days);
    }
}

/// Decides otherwise, from now on.
///
/// Sessions keep their end until they get new tokens, passwords are kept until they are changed.
#[utoipa::path(patch, path = "/v1/settings", tag = "settings", operation_id = "update_settings",
    request_body = Patch,
    params(("If-Match" = Option<String>, Header, description = "The ETag of the version to change")),
    responses(
        (status = 200, description = "What is decided now", body = Decisions, headers(("ETag" = String))),
        (status = 401, description = "insufficient_user_authentication: see `step-up`", body = Problem),
        (status = 412, description = "It is of another version", body = Problem),
    ))]
async fn update(
    caller: Insider<people_right::SettingsWrite>,
    State(state): State<AppState>,
    expected: Option<IfMatch>,
    Json(patch): Json<Patch>,
) -> Result<Response, Problem> {
    let change = |decisions: &mut Decisions, version| {
        expected.map_or(Ok(()), |expected| expected.check(ETag(version)))?;
        patch.apply(decisions);
        Ok(())
    };
    let by = (&*caller.principal, &caller.client);
    let (decisions, version) = policies::update(&state.identity, &caller.tenant, by, change).await?;
    Ok((ETag(version), Json(decisions)).into_response())
}
