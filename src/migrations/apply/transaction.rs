//! One file, one transaction: what the file does and its row in the history come together or not at all.
//!
//! The file is the text of an EXECUTE within a DO block. PostgreSQL executes any statement there but those that begin or
//! end a transaction, however they are spelt and wherever they stand. And it counts the whole file as one statement, so
//! a file cannot lift the bound of its own time. The transaction's id is compared all the same.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::{
    failure,
    limits::pause_after,
    outcome::Wait,
    session::{Session, Stop},
};
use crate::{
    error::{Error, Result},
    migrations::SELECT_VERSIONS,
    types::{SchemaVersions, Stream},
};

const AFTER: &str = include_str!("after.sql");

/// What one file does to one database.
pub(super) struct Change<'a> {
    /// What the file is called in sentences.
    pub(super) label: String,
    /// Where it makes what it names without a schema.
    pub(super) schema: &'a str,
    /// The file's text.
    pub(super) sql: &'a str,
    /// What records it in the history.
    pub(super) record: String,
    /// The table of the history.
    pub(super) history: String,
}

impl Session<'_> {
    /// Runs and records the file. A lock that is not to be had is asked for again and again, with pauses in which those
    /// who wait for the same tables go ahead. Answers how often.
    pub(super) async fn carry_out(&self, change: &Change<'_>) -> Result<u32> {
        let (deadline, mut tries) = (Instant::now() + self.limits.lock_budget, 0);
        loop {
            let started = Instant::now();
            let Err(stop) = self.once(change).await else { return Ok(tries) };
            self.roll_back().await;
            self.judge(change, stop, started.elapsed())?;
            tries += 1;
            let pause = pause_after(tries);
            if Instant::now() + pause > deadline {
                return Err(failure::locked_out(&change.label, tries, self.limits.lock_budget));
            }
            self.pause(pause).await;
        }
    }

    /// Whether what has stopped a transaction is a lock, which is worth another try.
    pub(super) fn judge(&self, change: &Change<'_>, stop: Stop, elapsed: Duration) -> Result<()> {
        match stop {
            Stop::Postgres(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(()),
            Stop::Postgres(error) => {
                let bound = self.limits.statement.min(self.limits.transaction);
                Err(failure::failed(change, &error, elapsed, bound))
            }
            Stop::Error(error) => Err(error),
        }
    }

    pub(super) async fn pause(&self, pause: Duration) {
        self.progress.send_modify(|progress| progress.wait = Some(Wait::Lock));
        tokio::time::sleep(pause).await;
        self.progress.send_modify(|progress| progress.wait = None);
    }

    async fn once(&self, change: &Change<'_>) -> Result<(), Stop> {
        let transaction = self.open(change.schema, &self.defaults()).await?;
        self.client.batch_execute(&within(change.sql)).await?;
        self.examine(change, &transaction).await?;
        Ok(self.client.batch_execute(&format!("{}; COMMIT", change.record)).await?)
    }

    /// Puts the settings back, and refuses what no file may do. The transaction is still open.
    pub(super) async fn examine(&self, change: &Change<'_>, transaction: &str) -> Result<(), Stop> {
        let label = &change.label;
        let refuse = |reason: String| Err(Stop::Error(failure::refused(label, reason)));
        // By itself: until then the file's own bound holds, and PostgreSQL takes its time to read a long text.
        self.client.batch_execute(&self.limits.of_a_statement()).await?;
        let row = self.row(&format!("{}; {AFTER}", self.put_back())).await?;
        if row.try_get("transaction")? != Some(transaction) {
            return refuse("it has ended its transaction; a part of it may have been applied".to_owned());
        }
        if !self.is_tenants() {
            return Ok(());
        }
        if let Some(shared) = row.try_get("shared")?.filter(|shared| !shared.is_empty()) {
            return refuse(format!(
                "it changes what belongs to a database or a role and not to the schema ({shared}): new tenants are \
                 copies of a template, and archives are dumps, and neither would have it"
            ));
        }
        if row.try_get("foreigners")? != Some("0") {
            return refuse(
                "it did not stay the owner: something that it made or granted is bound to the login that runs it"
                    .to_owned(),
            );
        }
        self.examine_histories(label).await?;
        match row.try_get("written")? {
            Some(tables) if change.schema != Stream::Freehold.schema() => {
                refuse(format!("it has written to {tables}: the rows of the schema freehold are Freehold's"))
            }
            _ => Ok(()),
        }
    }

    async fn examine_histories(&self, label: &str) -> Result<(), Stop> {
        let row = self.row(SELECT_VERSIONS).await?;
        let version = |name| row.try_get(name).ok().flatten().and_then(|text| text.parse::<i32>().ok());
        let told = version("freehold").zip(version("product"));
        let (freehold, product) = told.ok_or_else(|| Error::defect("a history has no version"))?;
        let told = SchemaVersions { freehold, product };
        if told == self.versions {
            return Ok(());
        }
        Err(failure::refused(label, format!("it has written to a history, which says {told}")).into())
    }
}

/// The file as a text that PostgreSQL executes within a function. What stands after it keeps the last statement from
/// being a SELECT INTO, which PostgreSQL takes for one of the function's own.
fn within(sql: &str) -> String {
    let tag = tag(sql);
    format!("DO {tag}_do$ BEGIN EXECUTE {tag}$;{sql}\n;SELECT{tag}$; END {tag}_do$")
}

/// The beginning of a dollar quote that is not in the text.
pub(super) fn tag(sql: &str) -> String {
    // More tags than a text of this length can hold.
    let mut tags = (0..=sql.len()).map(|number| format!("$freehold{number}"));
    tags.find(|tag| !sql.contains(tag.as_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_ends_the_quotes_that_it_stands_in() {
        assert_eq!(
            within("a"),
            "DO $freehold0_do$ BEGIN EXECUTE $freehold0$;a\n;SELECT$freehold0$; END $freehold0_do$"
        );
        assert!(
            within("$freehold0$ -- $freehold1_do$")
                .starts_with("DO $freehold2_do$ BEGIN EXECUTE $freehold2$;$freehold0$")
        );
    }
}
