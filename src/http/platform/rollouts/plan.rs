//! `POST /platform/v1/rollouts/plan`: what a rollout would do.

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::start::NewRollout;
use crate::{
    control::{migration_files, replicas, rollout_plan::Candidate, rollout_tenants::NewMember},
    error::Result,
    http::{
        AppState,
        extract::{Json, Operator, right},
        problem::Problem,
    },
    rollouts::{
        obstacles::{self, Obstacle},
        plan::Plan,
        undo::{Undo, Undone},
    },
    types::{RolloutId, Slug, Stream, TenantId},
};

/// How many tenants of a wave are named.
const NAMED: usize = 200;

/// What a rollout would do now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutPlan)]
pub(super) struct PlanView {
    /// The version of Freehold's own stream that tenants would get.
    freehold_version: i32,
    /// The version of the product's stream that tenants would get.
    schema_version: i32,
    /// The rollout that it would undo.
    undoes: Option<RolloutId>,
    /// The files that at least one tenant lacks. Of an undo, the undo files that at least one tenant needs.
    files: Vec<FileView>,
    /// The waves, in order.
    waves: Vec<PlannedWave>,
    /// The tenants that would be left out.
    skipped: Vec<PlannedTenant>,
    /// The replicas that run a release with older migrations than these: the files must take away nothing that it uses.
    older_replicas: Vec<String>,
    /// What keeps it from starting.
    obstacles: Vec<ObstacleView>,
    /// Of an undo: how many tenants are at newer versions, are no part of it, and stay there.
    staying: i64,
    /// About how long it would take, by what tenants took in earlier rollouts; null without any.
    estimate_seconds: Option<u64>,
}

/// What keeps a rollout from starting.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutObstacle)]
struct ObstacleView {
    /// The code with which a start is refused.
    #[schema(example = "undo_missing")]
    code: &'static str,
    /// What is in the way.
    detail: String,
}

impl From<Obstacle> for ObstacleView {
    fn from(Obstacle { code, detail }: Obstacle) -> Self {
        Self { code, detail }
    }
}

/// A file that at least one tenant lacks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PendingMigration)]
struct FileView {
    /// Of which stream it is.
    stream: Stream,
    /// Its file's name.
    #[schema(example = "V2__add_labels.sql")]
    name: String,
    /// How many tenants would get it.
    tenants: usize,
    /// What an undo file throws away, as far as its text shows.
    loses: Vec<String>,
}

/// A wave of a plan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedWave)]
struct PlannedWave {
    /// Its place; 0 are the canaries.
    position: i32,
    /// What it is made of.
    #[schema(value_type = Object, example = "25%")]
    of: Value,
    /// How many tenants it has.
    count: usize,
    /// The first 200 of them.
    tenants: Vec<PlannedTenant>,
    /// About how long it would take.
    estimate_seconds: Option<u64>,
}

/// A tenant of a plan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlannedTenant)]
struct PlannedTenant {
    /// Its id.
    tenant_id: TenantId,
    /// Its public name.
    slug: Slug,
    /// The version of the product's stream that it has.
    from_version: i32,
    /// The one that it would get.
    to_version: i32,
    /// The version of Freehold's own stream that it has.
    from_freehold_version: i32,
    /// The one that it would get.
    to_freehold_version: i32,
}

/// Says what a rollout would do. Starts nothing, and asks no tenant.
#[utoipa::path(post, path = "/platform/v1/rollouts/plan", tag = "rollouts", operation_id = "plan_rollout",
    request_body = NewRollout, responses((status = 200, description = "The plan", body = PlanView)),
)]
pub(super) async fn plan(
    _: Operator<right::RolloutsRead>,
    State(state): State<AppState>,
    Json(body): Json<NewRollout>,
) -> Result<Json<PlanView>, Problem> {
    let plan = Plan::make(&state.operations, &body.parse()?).await?;
    let mut connection = state.operations.db.acquire().await?;
    let published = migration_files::list(&mut connection).await?;
    let older_replicas = replicas::older_than(&mut connection, plan.target).await?;
    let obstacles = obstacles::of_going_forward(&state.operations, &mut connection, &plan.members).await?;
    let obstacles = obstacles.into_iter().map(ObstacleView::from).collect();
    Ok(Json(PlanView { older_replicas, obstacles, ..view(&plan, &published) }))
}

/// What an undo would do.
pub(super) fn undo_view(undo: Undo) -> PlanView {
    let file =
        |file: Undone| FileView { stream: Stream::Product, name: file.name, tenants: file.tenants, loses: file.loses };
    let obstacles = undo.obstacles.into_iter().map(ObstacleView::from).collect();
    let files = undo.files.into_iter().map(file).collect();
    PlanView { files, obstacles, staying: undo.staying, ..view(&undo.plan, &[]) }
}

fn view(plan: &Plan, published: &[migration_files::Published]) -> PlanView {
    let waves: Vec<_> = plan.waves.iter().map(|(position, of)| wave(plan, *position, of)).collect();
    let estimates: Option<Vec<_>> = waves.iter().map(|wave| wave.estimate_seconds).collect();
    let skipped = plan.members.iter().filter(|(_, member)| member.skipped.is_some());
    PlanView {
        freehold_version: plan.target.freehold,
        schema_version: plan.target.product,
        undoes: plan.undoes,
        files: published.iter().filter_map(|file| pending(plan, file)).collect(),
        waves,
        skipped: skipped.map(tenant).collect(),
        older_replicas: Vec::new(),
        obstacles: Vec::new(),
        staying: 0,
        estimate_seconds: estimates.map(|seconds| seconds.into_iter().sum()),
    }
}

/// The file, if a tenant would get it.
fn pending(plan: &Plan, file: &migration_files::Published) -> Option<FileView> {
    let lacks = |(_, member): &&(Candidate, NewMember)| {
        let (from, to) = match file.stream {
            Stream::Freehold => (member.from.freehold, member.to.freehold),
            Stream::Product => (member.from.product, member.to.product),
        };
        member.skipped.is_none() && from < file.version && file.version <= to
    };
    let tenants = plan.members.iter().filter(lacks).count();
    let name = format!("V{}__{}.sql", file.version, file.name);
    (tenants > 0).then_some(FileView { stream: file.stream, name, tenants, loses: Vec::new() })
}

fn wave(plan: &Plan, position: i32, of: &Value) -> PlannedWave {
    let members = plan.members.iter().filter(|(_, member)| member.wave == position && member.skipped.is_none());
    let members: Vec<_> = members.collect();
    PlannedWave {
        position,
        of: of.clone(),
        count: members.len(),
        tenants: members.iter().take(NAMED).map(|member| tenant(member)).collect(),
        estimate_seconds: plan.estimate(position).map(|estimate| estimate.as_millis().div_ceil(1_000)).map(seconds),
    }
}

fn seconds(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn tenant((tenant, member): &(Candidate, NewMember)) -> PlannedTenant {
    PlannedTenant {
        tenant_id: tenant.id,
        slug: tenant.slug.clone(),
        from_version: member.from.product,
        to_version: member.to.product,
        from_freehold_version: member.from.freehold,
        to_freehold_version: member.to.freehold,
    }
}
