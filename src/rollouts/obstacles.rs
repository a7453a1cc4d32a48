//! What keeps a rollout from starting, and a wave from beginning: replicas that run and could not serve the tenants any
//! more, and files that are missing for the way back.
//!
//! A plan shows all of it. A start is refused with the first. Before each wave it is looked at again, since replicas come
//! and go meanwhile: then the rollout pauses. See docs/decisions/0034.

use sqlx::PgConnection;

use crate::{
    control::{replicas, rollout_plan, rollouts::Rollout},
    error::{Error, Result},
};

/// How many names a sentence has at most.
const NAMED: usize = 20;

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// A stable code.
    pub code: &'static str,
    /// A sentence that names what is in the way, and what to do.
    pub detail: String,
}

impl From<Obstacle> for Error {
    fn from(Obstacle { code, detail }: Obstacle) -> Self {
        Self::conflict(code, detail)
    }
}

/// Why the next wave of a rollout may not begin.
pub(super) async fn of_a_wave(connection: &mut PgConnection, rollout: &Rollout) -> Result<Option<Obstacle>> {
    let Some(oldest) = rollout_plan::oldest_left(connection, rollout.id).await? else { return Ok(None) };
    if rollout.undoes.is_some() { of_going_back(connection, oldest).await } else { Ok(None) }
}

/// Why no tenant may be taken back to `version` of the product's stream: replicas that could not serve it there.
pub(super) async fn of_going_back(connection: &mut PgConnection, version: i32) -> Result<Option<Obstacle>> {
    let names = replicas::needing_more_than(connection, version).await?;
    if names.is_empty() {
        return Ok(None);
    }
    let detail = format!(
        "replicas run that cannot serve version {version} of the product's stream: {}; replace them with an older release \
         first",
        some(&names)
    );
    Ok(Some(Obstacle { code: "replicas_need_newer", detail }))
}

/// The first [`NAMED`] names, and how many more there are.
pub(super) fn some(names: &[String]) -> String {
    let first = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_some_and_counts_the_rest() {
        let names: Vec<_> = (1..=22).map(|number| format!("r{number}")).collect();
        assert!(some(&names).ends_with("r20 and 2 more"));
        assert_eq!(some(&names[..2]), "r1, r2");
    }
}
