//! What a database's schema really is, object by object, and its fingerprint: what drift is found by.

use std::{collections::BTreeMap, fmt::Write as _};

use aws_lc_rs::digest;
use tokio_postgres::Client;

use crate::error::Result;

const DESCRIBE: &str = include_str!("schema.sql");
/// So that every name is written out in full, and a statement that hangs does not hold up more than itself.
const SETTINGS: &str = "SET LOCAL search_path = pg_catalog; SET LOCAL statement_timeout = '10s'";

/// A database's schema: objects and their definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    objects: BTreeMap<String, String>,
}

impl Schema {
    /// Reads the schema of the database that `session` is in. Any login may: catalogues are open to everybody.
    pub async fn of(session: &mut Client) -> Result<Self> {
        let txn = session.transaction().await?;
        txn.batch_execute(SETTINGS).await?;
        let rows = txn.query(DESCRIBE, &[]).await?;
        txn.rollback().await?;
        let objects = rows.iter().map(|row| Ok((row.try_get("object")?, row.try_get("definition")?)));
        Ok(Self { objects: objects.collect::<Result<_>>()? })
    }

    /// SHA-256 over all objects and definitions, in hexadecimal: equal schemas have equal fingerprints.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(self.objects.iter().flat_map(|(object, definition)| [object.as_bytes(), definition.as_bytes()]))
    }
}

/// SHA-256 over `parts`, in hexadecimal.
pub(super) fn fingerprint<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        // The length first, so that no text can pass for the end of another.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
