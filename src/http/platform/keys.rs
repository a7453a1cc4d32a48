//! `/platform/v1/keys`: the key-encryption keys, by their names. Never the keys themselves.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::key_rings::Ring,
    http::{
        AppState,
        extract::{Json, JsonIfAny, Operator, right},
        problem::Problem,
    },
    operations::fleet::key_encryption::{self, Kek, Status},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(rotate))
}

/// The key-encryption keys.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyEncryption)]
struct View {
    /// The one that wraps new data keys.
    #[schema(example = "k1")]
    active: String,
    /// All that are configured, or that wrap a data key.
    keys: Vec<KeyView>,
    /// Which replica has which.
    replicas: Vec<RingView>,
}

/// A key-encryption key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyEncryptionKey)]
struct KeyView {
    /// Its name.
    #[schema(example = "k1")]
    id: String,
    /// Whether the replica that answers has it.
    configured: bool,
    /// How many data keys it wraps.
    data_keys: i64,
}

/// The key-encryption keys of one replica.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyRing)]
struct RingView {
    /// Its name.
    name: String,
    /// The names of its keys, the active one first.
    keys: Vec<String>,
    /// When it last said so.
    seen_at: DateTime<Utc>,
}

impl From<Status> for View {
    fn from(status: Status) -> Self {
        let key = |Kek { id, configured, data_keys }| KeyView { id, configured, data_keys };
        let ring = |Ring { replica, key_ids, seen_at }| RingView { name: replica, keys: key_ids, seen_at };
        Self {
            active: status.active,
            keys: status.keys.into_iter().map(key).collect(),
            replicas: status.rings.into_iter().map(ring).collect(),
        }
    }
}

/// A step towards having all data keys wrapped by one key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// The key that shall wrap them; the active one unless said otherwise.
    #[schema(example = "k2")]
    to: Option<String>,
}

/// What was done, and what is left.
#[derive(Debug, Serialize, ToSchema)]
struct Rotated {
    /// How many data keys were wrapped anew.
    rewrapped: usize,
    /// How many are wrapped by other keys yet. Ask again until there are none.
    remaining: i64,
}

/// Which key-encryption keys there are, and who has them.
#[utoipa::path(get, path = "/platform/v1/keys", tag = "keys", operation_id = "get_keys", responses(
    (status = 200, description = "Names and counts", body = View),
))]
async fn show(_: Operator<right::KeysRead>, State(state): State<AppState>) -> Result<Json<View>, Problem> {
    Ok(Json(key_encryption::status(&state.operations).await?.into()))
}

/// Wraps some data keys anew, 2,000 at most; to be called until none remain.
#[utoipa::path(post, path = "/platform/v1/keys/rotate", tag = "keys", operation_id = "rotate_keys",
    request_body = Rotation,
    responses(
        (status = 200, description = "What was done", body = Rotated),
        (status = 409, description = "A replica lacks the key", body = Problem),
    ),
)]
async fn rotate(
    caller: Operator<right::KeysWrite>,
    State(state): State<AppState>,
    JsonIfAny(body): JsonIfAny<Rotation>,
) -> Result<Json<Rotated>, Problem> {
    let done = key_encryption::rotate(&state.operations, body.to.as_deref(), &caller.origin()).await?;
    Ok(Json(Rotated { rewrapped: done.rewrapped, remaining: done.remaining }))
}
