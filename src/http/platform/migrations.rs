//! `/platform/v1/migrations`: the published tenant migrations of both streams. Only the product's can be added to here:
//! Freehold's own come with the program.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::migration_files,
    error::Result,
    http::{
        AppState,
        extract::{Json, Listing, Operator, right},
        problem::Problem,
    },
    migrations::{MigrationFile, MigrationSet},
    operations::schema::publish,
    types::Stream,
};

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
    /// When it was published.
    published_at: DateTime<Utc>,
    /// By whom.
    published_by: String,
}

/// A product's migration set: all files, the published ones included and unchanged, and undo files of some of them.
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
    /// The whole text.
    sql: String,
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
        published_at: file.published_at,
        published_by: file.published_by,
    };
    Ok(Json(Listing::all(files.into_iter().map(view).collect())))
}

/// Publishes a product's migration set that extends the newest one.
///
/// Freehold's own stream stays as it is. The set is applied to a scratch database first; one that does not apply is refused with PostgreSQL's own
/// message. New tenants are made from it; tenants that exist stay on their version until a rollout.
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
    let set = MigrationSet::parse(body.files.into_iter().map(|file| (file.name, file.sql)))?;
    let publish::Published { version, added } = publish::publish(&state.operations, &set, &caller.origin()).await?;
    Ok(Json(Published { version, added }))
}
