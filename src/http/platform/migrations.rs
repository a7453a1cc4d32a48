//! `/platform/v1/migrations`: the published tenant migrations of both streams. Only the product's can be added to here:
//! Freehold's own come with the program.

use std::time::Duration;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::migration_files,
    error::{Error, FieldError, Result},
    http::{
        AppState,
        extract::{Json, Listing, Operator, right},
        problem::Problem,
    },
    migrations::{MigrationFile, Sent},
    operations::schema::by_operator,
    types::Stream,
};

/// Where sets are published.
pub(in crate::http) const PATH: &str = "/platform/v1/migrations";
/// The largest publication, in bytes: what one may bring that is new, whatever is published already.
pub(in crate::http) const LIMIT: usize = 4 * 1024 * 1024;
/// How long a publication may take.
pub(in crate::http) const TIME: Duration = by_operator::LIMIT;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list, publish_set))
}

/// A published migration.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Migration)]
struct View {
    /// Of which stream it is.
    stream: Stream,
    /// Its version within the stream.
    version: i32,
    /// Its file's name.
    #[schema(example = "V1__identity.sql")]
    name: String,
    /// Whether it can be undone: it has an undo file.
    undoable: bool,
    /// SHA-256 of its text, in hexadecimal.
    #[schema(example = "e004ebd5b5532a4b85984a62f8ad48a81aa3460c1ca07701f386135d72cdecf5")]
    sha256: String,
    /// When it was published.
    published_at: DateTime<Utc>,
    /// By whom.
    published_by: String,
}

/// A product's migration set: all files, the published ones included and unchanged, and undo files of some of them.
/// Published ones may be told by their digests alone, so that a request need not hold a whole history.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSet {
    /// The files, in any order.
    files: Vec<NewFile>,
}

/// A file of a set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewFile {
    /// `V<version>__<name>.sql`, or `U<version>__<name>.sql` for the undo file of that migration.
    #[schema(example = "V2__add_labels.sql")]
    name: String,
    /// The whole text. Either this or `sha256`.
    #[schema(value_type = String, required = false)]
    sql: Option<String>,
    /// Of a file that is published: SHA-256 of its text, in lower-case hexadecimal.
    #[schema(value_type = String, required = false, pattern = "^[0-9a-f]{64}$")]
    sha256: Option<String>,
}

/// What a publication changed.
#[derive(Debug, Serialize, ToSchema)]
struct Published {
    /// The newest version of the product's stream now.
    version: i32,
    /// How many files were added.
    added: usize,
}

/// All published migrations: Freehold's own, then the product's, each in order.
#[utoipa::path(get, path = "/platform/v1/migrations", tag = "migrations", operation_id = "list_migrations", responses(
    (status = 200, description = "All published migrations", body = Listing<View>),
))]
async fn list(
    _: Operator<right::MigrationsRead>,
    State(state): State<AppState>,
) -> Result<Json<Listing<View>>, Problem> {
    let files = migration_files::list(&mut *state.operations.db.acquire().await?).await?;
    let view = |file: migration_files::Published| View {
        stream: file.stream,
        version: file.version,
        name: MigrationFile::named(file.version, &file.name),
        undoable: file.undo.is_some(),
        sha256: Sent::digest(&file.sql),
        published_at: file.published_at,
        published_by: file.published_by,
    };
    Ok(Json(Listing::all(files.into_iter().map(view).collect())))
}

/// Publishes a product's migration set that extends the newest one.
///
/// Freehold's own stream stays as it is. New files are linted first: an error is refused with the name of its rule as the
/// code, and its line in the message. Then the set is applied to a scratch database; one that does not apply is refused
/// with PostgreSQL's own message. New tenants are made from it; tenants that exist stay on their version until a rollout.
/// The body may have 4 MiB. A file that is published already may be sent as its name and `sha256`. The answer may take
/// 22 minutes: the whole history is applied, and one set is tried at a time.
#[utoipa::path(post, path = "/platform/v1/migrations", tag = "migrations", operation_id = "publish_migrations",
    request_body = NewSet, responses(
    (status = 200, description = "The set is published", body = Published),
    (status = 409, description = "A published file is missing or changed", body = Problem),
))]
async fn publish_set(
    caller: Operator<right::MigrationsWrite>,
    State(state): State<AppState>,
    Json(body): Json<NewSet>,
) -> Result<Json<Published>, Problem> {
    let published = by_operator::publish(&state.operations, sent(body.files)?, &caller.origin()).await?;
    let by_operator::Published { version, added } = published;
    Ok(Json(Published { version, added }))
}

fn sent(files: Vec<NewFile>) -> Result<Vec<(String, Sent)>> {
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut errors = Vec::new();
    let mut sent = Vec::with_capacity(files.len());
    for (index, NewFile { name, sql, sha256 }) in files.into_iter().enumerate() {
        let mut error = |member: &str, code: &'static str, message: &str| {
            errors.push(FieldError::new(format!("files[{index}].{member}"), code, message));
        };
        match (sql, sha256) {
            (Some(sql), None) => sent.push((name, Sent::Text(sql))),
            (None, Some(sha256)) if is_digest(&sha256) => sent.push((name, Sent::Digest(sha256))),
            (None, Some(_)) => error("sha256", "invalid_format", "must be 64 lower-case hexadecimal digits"),
            (Some(_), Some(_)) => error("sha256", "unknown_field", "must not be there beside sql"),
            (None, None) => error("sql", "required", "must be there, or sha256 must be"),
        }
    }
    if errors.is_empty() { Ok(sent) } else { Err(Error::Validation(errors)) }
}
