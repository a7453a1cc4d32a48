//! `POST /platform/v1/adoptions`. Not below `tenants`, where its name would be a tenant's slug.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::create::{Created, DEFAULT_PLAN, NewAdmin, answer, noted, parse_admin, settled};
use crate::{
    error::{Error, Result},
    http::{
        AppState,
        extract::{IdempotencyKey, Json, Operator, PreferWait, right},
        problem::Problem,
    },
    migrations::Difference,
    operations::tenants::adopt::{self, Look, Subject},
    servers::Obstacle,
};

const ROUTE: &str = "POST /platform/v1/adoptions";

/// A database that is to become a tenant's.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAdoption {
    /// The tenant's public name: 3 to 63 of a-z, 0-9 and hyphen, beginning with a letter.
    #[schema(example = "acme")]
    slug: String,
    /// Its name for people.
    #[schema(example = "Acme Corporation")]
    name: String,
    /// The name of its plan; `default` unless said otherwise.
    plan: Option<String>,
    /// The name of the server that holds the database.
    server: String,
    /// The database's name there.
    #[schema(example = "shop_acme")]
    database: String,
    /// The version of the product's stream that the database has; what its history says unless said otherwise, and the
    /// newest without a history.
    version: Option<i32>,
    /// Its first administrator; without one nobody can sign in until somebody is invited.
    admin: Option<NewAdmin>,
    /// Only say whether it can be adopted.
    #[serde(default)]
    dry_run: bool,
}

/// Whether a database can be adopted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdoptionVerdict)]
pub(super) struct VerdictView {
    /// `ready`, `drifted`, `conflict` or `error`.
    #[schema(example = "drifted")]
    verdict: &'static str,
    /// The version of the product's stream that its schema was compared with.
    schema_version: i32,
    /// The version of Freehold's own stream that it would get.
    freehold_version: i32,
    /// What stands in the way.
    conflicts: Vec<Obstacle>,
    /// How its schema differs, apart from rights and owners.
    differences: Vec<DifferenceView>,
    /// Why it could not be looked at; null if it could.
    error: Option<String>,
}

/// An object that is not what the version says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdoptionDifference)]
struct DifferenceView {
    /// Its kind and its name.
    #[schema(example = "column public.projects.name")]
    object: String,
    /// What it should be, in PostgreSQL's words; null if it should not be there.
    expected: Option<String>,
    /// What it is; null if it is not there.
    actual: Option<String>,
}

impl From<Difference> for DifferenceView {
    fn from(difference: Difference) -> Self {
        let Difference { object, expected, actual } = difference;
        Self { object, expected, actual }
    }
}

impl From<Look> for VerdictView {
    fn from(look: Look) -> Self {
        Self {
            verdict: look.verdict().as_str(),
            schema_version: look.versions.product,
            freehold_version: look.versions.freehold,
            conflicts: look.conflicts,
            differences: look.differences.into_iter().map(DifferenceView::from).collect(),
            error: look.error,
        }
    }
}

/// Makes a database that is there already a tenant's. With `dry_run` only says whether that can be done.
///
/// The database's schema has to be that of a published version. It gets another name and another owner; no row of it is
/// changed. When the adoption fails or is cancelled, it is given back as it was. A repeated request with the same
/// `Idempotency-Key` gets the same tenant.
#[utoipa::path(post, path = "/platform/v1/adoptions", tag = "tenants", operation_id = "adopt_database",
    request_body = NewAdoption,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt"),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds, 10 at most"),
    ),
    responses(
        (status = 200, description = "Whether it can be adopted, if only that was asked", body = VerdictView),
        (status = 201, description = "The tenant serves", body = Created),
        (status = 202, description = "The database is being adopted; see Location", body = Created),
        (status = 409, description = "It cannot be adopted, or the slug is taken", body = Problem),
    ),
)]
pub(super) async fn adopt(
    caller: Operator<right::TenantsWrite>,
    State(state): State<AppState>,
    wishes: (Option<IdempotencyKey>, PreferWait),
    Json(body): Json<NewAdoption>,
) -> Result<Response, Problem> {
    let (key, PreferWait(at_most)) = wishes;
    let is_dry = body.dry_run;
    let idempotency = caller.idempotency(key.filter(|_| !is_dry), ROUTE, &fingerprint(&body))?;
    let request = parse(body)?;
    if is_dry {
        let look = adopt::judge(&state.operations, &request.subject).await?;
        return Ok(Json(VerdictView::from(look)).into_response());
    }
    let started = adopt::start(&state.operations, &request, &caller.origin(), idempotency.as_ref()).await?;
    answer(&state, settled(&state, started, at_most).await?).await
}

/// What makes two requests the same.
fn fingerprint(body: &NewAdoption) -> impl Serialize {
    let fields = (&body.slug, &body.name, &body.plan, &body.server, &body.database, body.version);
    (fields, body.admin.as_ref().map(NewAdmin::fingerprint))
}

fn parse(body: NewAdoption) -> Result<adopt::Request> {
    let mut errors = Vec::new();
    let slug = noted(&mut errors, "slug", &body.slug);
    let name = noted(&mut errors, "name", &body.name);
    let admin = body.admin.map(|admin| parse_admin(&mut errors, admin));
    match (slug, name, admin) {
        (Some(slug), Some(name), admin @ (None | Some(Some(_)))) => Ok(adopt::Request {
            slug,
            name,
            plan: body.plan.unwrap_or_else(|| DEFAULT_PLAN.to_owned()),
            subject: Subject { server: body.server, database: body.database, version: body.version },
            admin: admin.flatten(),
        }),
        _ => Err(Error::Validation(errors)),
    }
}
