//! Whether a database can become a tenant's: what stands in the way, and how its schema differs from the reference.
//!
//! The reference is the template of the same versions on the same server, which is built where there is none yet. Rights
//! and owners do not count: adoption gives them. What is read in the database changes nothing: the administrative role
//! takes the owner's rights in a transaction that is rolled back.

use tokio_postgres::error::SqlState;

use super::Subject;
use crate::{
    control::servers::Server,
    error::{Error, FieldError, Result, first_of},
    migrations::{self, Difference, Schema},
    operations::{
        Access, Context,
        schema::{migrate::Goal, publish},
    },
    servers::{Connection, FormerOwner, Found, Inside, OWNER_ROLE, Obstacle, ServerAdmin, is_sqlstate},
    types::{DbName, SchemaVersions},
};

/// How many conflicts and objects a refusal names.
const NAMED: usize = 10;
/// With one of these, nobody looks into the database.
const SHUT: [&str; 4] = ["database_taken", "owner_out_of_reach", "database_closed", "database_settings"];
/// What every server has and no product lives in.
const SERVERS_OWN: [&str; 3] = ["postgres", "template0", "template1"];

/// What a look has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can be adopted.
    Ready,
    /// Its schema is not that of the version.
    Drifted,
    /// Something of it belongs to somebody else, or must not be in a tenant's database, or it is in use.
    Conflict,
    /// It could not be looked at.
    Error,
}

impl Verdict {
    /// As the interfaces spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drifted => "drifted",
            Self::Conflict => "conflict",
            Self::Error => "error",
        }
    }
}

/// A database, as somebody has looked at it.
#[derive(Debug)]
pub struct Look {
    /// The versions that it was compared with, and would have.
    pub versions: SchemaVersions,
    /// What stands in the way.
    pub conflicts: Vec<Obstacle>,
    /// How its schema differs.
    pub differences: Vec<Difference>,
    /// Why it could not be looked at, if it could not.
    pub error: Option<String>,
}

impl Look {
    /// The verdict.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        if self.error.is_some() {
            Verdict::Error
        } else if !self.conflicts.is_empty() {
            Verdict::Conflict
        } else if !self.differences.is_empty() {
            Verdict::Drifted
        } else {
            Verdict::Ready
        }
    }

    /// Refuses all but one that is ready.
    ///
    /// # Errors
    /// `adoption_conflict`, `schema_drift` (409).
    pub(super) fn refuse(&self) -> Result<()> {
        match self.verdict() {
            Verdict::Conflict => {
                let told: Vec<_> = self.conflicts.iter().map(|conflict| conflict.detail.as_str()).collect();
                let detail = format!("the database cannot be adopted: {}", first_of(&told, NAMED));
                Err(Error::conflict("adoption_conflict", detail))
            }
            Verdict::Drifted => {
                let told: Vec<_> = self.differences.iter().map(|difference| difference.object.as_str()).collect();
                let (version, told) = (self.versions.product, first_of(&told, NAMED));
                let detail = format!("its schema is not that of the product's version {version}: {told}");
                Err(Error::conflict("schema_drift", detail))
            }
            Verdict::Ready | Verdict::Error => Ok(()),
        }
    }
}

/// A look whose failure is a verdict.
pub(super) async fn judge(ctx: &Context, server: &Server, subject: &Subject) -> Result<Look> {
    match at(ctx, server, subject).await {
        Err(error) if !matches!(error, Error::Validation(_)) => {
            tracing::warn!(server.id = %server.id, error = error.chain(), "a database cannot be looked at");
            let versions = SchemaVersions { product: subject.version.unwrap_or_default(), ..SchemaVersions::default() };
            Ok(Look { versions, conflicts: Vec::new(), differences: Vec::new(), error: Some(error.to_string()) })
        }
        looked => looked,
    }
}

/// A look before anything is asked for.
pub(super) async fn at(ctx: &Context, server: &Server, subject: &Subject) -> Result<Look> {
    let (access, admin) = ctx.administer(server, "adopt").await?;
    let place = Place { ctx, server, access: &access, admin: &admin };
    place.look(&subject.database, subject.version).await.map(|(look, _)| look)
}

/// A server, and a session on it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) ctx: &'a Context,
    pub(super) server: &'a Server,
    pub(super) access: &'a Access,
    pub(super) admin: &'a ServerAdmin,
}

impl Place<'_> {
    /// Looks at a database that nobody has changed yet, and into it.
    ///
    /// # Errors
    /// `validation_failed` on `database` or `version`; the server is unavailable.
    pub(super) async fn look(self, database: &str, wanted: Option<i32>) -> Result<(Look, Found)> {
        let found = self.admin.find_foreign(database).await?.ok_or_else(unknown)?;
        let newest = self.newest().await?;
        check_version(wanted, newest)?;
        let mut conflicts = found.obstacles.clone();
        if is_freeholds(database) || database == self.access.maintenance_db {
            conflicts.push(Obstacle::new("database_taken", "a database of this name is Freehold's, or the server's"));
        }
        let mut look = Look { versions: newest, conflicts, differences: Vec::new(), error: None };
        if look.conflicts.iter().any(|conflict| SHUT.contains(&conflict.code.as_str())) {
            return Ok((look, found));
        }
        let Some(mut session) = self.enter(database).await? else {
            let detail = "the administrative role may not connect to it: GRANT CONNECT ON DATABASE it TO that role";
            look.conflicts.push(Obstacle::new("database_closed", detail));
            return Ok((look, found));
        };
        let looked = self.look_inside(&mut session, &found.owner, wanted).await;
        session.close().await;
        let (inside, _) = looked?;
        look.conflicts.extend(inside.conflicts);
        Ok((Look { versions: inside.versions, differences: inside.differences, ..look }, found))
    }

    /// Looks into a database that belonged to `owner`. The version is by default what the history says.
    pub(super) async fn look_inside(
        self,
        session: &mut Connection,
        owner: &FormerOwner,
        wanted: Option<i32>,
    ) -> Result<(Look, Contents)> {
        let newest = self.newest().await?;
        let contents = self.contents(session, owner).await?;
        let mut conflicts = contents.inside.obstacles();
        if contents.history.is_none() {
            let detail = "its public.refinery_schema_history names other files than the published ones";
            conflicts.push(Obstacle::new("history_differs", detail));
        }
        let history = contents.history.unwrap_or_default();
        let by_history = if history > 0 { history.min(newest.product) } else { newest.product };
        let versions = SchemaVersions { product: wanted.unwrap_or(by_history), ..newest };
        if history > versions.product {
            let detail = format!("its history says version {history}, which is beyond {}", versions.product);
            conflicts.push(Obstacle::new("history_differs", detail));
        }
        let goal = Goal::find(self.ctx, (self.server.id, self.access), self.admin, versions).await?;
        let described = Schema::of_foreign(session, owner.oid, OWNER_ROLE).await?;
        let unknown = || Error::defect("the objects of a template are not recorded");
        let differences = goal.objects().ok_or_else(unknown)?.differences_to_adopt(&described);
        Ok((Look { versions, conflicts, differences, error: None }, contents))
    }

    /// Reads what is in it, with the owner's rights for the moment.
    async fn contents(self, session: &Connection, owner: &FormerOwner) -> Result<Contents> {
        let read = self.read(session, owner).await;
        session.batch_execute("ROLLBACK").await?;
        read
    }

    async fn read(self, session: &Connection, owner: &FormerOwner) -> Result<Contents> {
        Inside::look_as(session, (owner, self.admin.version())).await?;
        let inside = Inside::of(session, owner).await?;
        // What is no plain table is not read: reading could run somebody's code.
        // It could be another table by now, were it not locked; and COPY takes no view.
        let is_plain = !inside.obstacles().iter().any(|obstacle| obstacle.code == "history_differs");
        if !inside.has_history() || !is_plain {
            return Ok(Contents { inside, history: Some(0) });
        }
        let newest = publish::newest(&self.ctx.memory, &mut *self.ctx.db.acquire().await?).await?;
        let history = match migrations::foreign_product_version(session, &newest.schema().product).await {
            Ok(version) => Some(version),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::warn!(error = error.chain(), "the history of a database is another product's");
                None
            }
        };
        Ok(Contents { inside, history })
    }

    /// An administrative session in the database; none where it is not let in.
    ///
    /// # Errors
    /// Those of a connection.
    pub(super) async fn enter(self, database: &str) -> Result<Option<Connection>> {
        let (connector, name) = (&self.ctx.connector, self.admin.application_name());
        let mut config = connector.config(&self.access.address, database, &self.access.credentials, name);
        // These count more than what somebody has set for the database: its functions are not taken for PostgreSQL's.
        config.options("-c search_path=pg_catalog -c role=none");
        match connector.open(&config).await? {
            Err(error) if is_sqlstate(&error, &SqlState::INSUFFICIENT_PRIVILEGE) => Ok(None),
            opened => {
                let session = opened?;
                Inside::enter(&session).await?;
                Ok(Some(session))
            }
        }
    }

    async fn newest(self) -> Result<SchemaVersions> {
        let newest = publish::newest(&self.ctx.memory, &mut *self.ctx.db.acquire().await?).await?;
        Ok(newest.schema().versions())
    }
}

/// What is in a database.
pub(super) struct Contents {
    pub(super) inside: Inside,
    /// The newest version that the product's history names: 0 without one, none when it names other files.
    pub(super) history: Option<i32>,
}

fn unknown() -> Error {
    FieldError::new("database", "unknown_database", "the server has no such database").into()
}

fn check_version(wanted: Option<i32>, newest: SchemaVersions) -> Result<()> {
    let newest = newest.product;
    match wanted {
        Some(version) if !(0..=newest).contains(&version) => {
            let message = format!("must be a published version of the product's stream: up to {newest}");
            Err(FieldError::new("version", "unknown_version", message).into())
        }
        _ => Ok(()),
    }
}

/// Whether a database of this name is Freehold's by its name, or one that every server has.
fn is_freeholds(name: &str) -> bool {
    name.parse::<DbName>().is_ok() || name.starts_with("freehold_") || SERVERS_OWN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(conflicts: &[&str], differences: usize, error: Option<&str>) -> Look {
        let difference = Difference { object: "relation public.t".to_owned(), expected: None, actual: None };
        Look {
            versions: SchemaVersions { freehold: 1, product: 2 },
            conflicts: conflicts.iter().map(|detail| Obstacle::new("database_in_use", *detail)).collect(),
            differences: vec![difference; differences],
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn the_verdict_is_the_worst_of_what_was_found() {
        assert_eq!(look(&[], 0, None).verdict(), Verdict::Ready);
        assert_eq!(look(&[], 1, None).verdict(), Verdict::Drifted);
        assert_eq!(look(&["in use"], 1, None).verdict(), Verdict::Conflict);
        assert_eq!(look(&[], 0, Some("away")).verdict(), Verdict::Error);
        assert!(look(&[], 0, None).refuse().is_ok());
        assert_eq!(look(&["in use"], 1, None).refuse().unwrap_err().code(), "adoption_conflict");
        let drifted = look(&[], NAMED + 2, None).refuse().unwrap_err();
        assert_eq!(drifted.code(), "schema_drift");
        assert!(drifted.to_string().ends_with(" and 2 more"), "{drifted}");
    }

    #[test]
    fn what_is_freeholds_or_the_servers_is_known_by_its_name() {
        for name in ["tenant_0190b6a4c1e87d3f8a2b5c6d7e8f9012", "freehold_template_1_1_a", "postgres", "template1"] {
            assert!(is_freeholds(name), "{name}");
        }
        for name in ["shop", "tenant_of_mine", "Free Hold"] {
            assert!(!is_freeholds(name), "{name}");
        }
    }
}
