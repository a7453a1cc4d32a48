//! The certificate of an erasure: what was destroyed, when, and who asked for it. It identifies people only by ids.
//!
//! The draft is written before anything is destroyed. The transaction that destroys the keys, which is the last step,
//! issues the certificate. After a crash in between, the draft still has the counts and shows that the erasure is
//! unfinished.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{
    control::{archives::Archive, deletion_certificates, sealing::WrappedKey},
    error::{Error, Result},
    types::{ArchiveId, KeyId, TenantId},
};

/// What was destroyed with a tenant.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The tenant's id.
    pub tenant_id: TenantId,
    /// Its last public name.
    pub slug: String,
    /// Who asked for the deletion: `usr_…` or `key_…` of an operator.
    pub requested_by: String,
    /// When the deletion was requested.
    pub requested_at: DateTime<Utc>,
    /// When the erasure was complete.
    pub erased_at: Option<DateTime<Utc>>,
    /// The name of the server that its database was on.
    pub server: String,
    /// Its database; null when it had none, as is the case for an archived tenant.
    pub database: Option<Database>,
    /// Its database roles.
    pub roles: Vec<String>,
    /// How many users its database had; null when there was no database, or it could not be read.
    pub users: Option<i64>,
    /// The key under which its secrets and archives were sealed.
    pub data_key: Option<DataKey>,
    /// The keys that its tokens were signed with.
    pub signing_keys: Vec<KeyId>,
    /// Its archives.
    pub archives: Vec<ArchiveEntry>,
    /// How many keys Redis had for the tenant.
    pub cache_keys: u64,
}

/// A database that was dropped.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: i64,
}

/// A data key that was destroyed. Remaining copies of what it encrypted are unreadable.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DataKey {
    /// The key-encryption key that wrapped it.
    pub kek_id: String,
    /// SHA-256 of the wrapped key, in hexadecimal. It identifies the key in a backup, and decrypts nothing.
    pub sha256: String,
}

/// An archive that was deleted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ArchiveEntry {
    /// Its id.
    pub id: ArchiveId,
    /// Its size; null when it was never completed.
    pub bytes: Option<i64>,
    /// SHA-256 of the stored object, in hexadecimal; null when it was never completed.
    pub sha256: Option<String>,
}

impl From<Archive> for ArchiveEntry {
    fn from(archive: Archive) -> Self {
        Self { id: archive.id, bytes: archive.bytes, sha256: archive.sha256 }
    }
}

impl From<WrappedKey> for DataKey {
    fn from(key: WrappedKey) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.wrapped);
        Self { kek_id: key.kek_id, sha256: hexadecimal(digest.as_ref()) }
    }
}

impl Certificate {
    /// The issued certificate of an erased tenant.
    ///
    /// # Errors
    /// `not_found` until the tenant is erased.
    pub async fn issued(connection: &mut PgConnection, tenant: TenantId) -> Result<Self> {
        let found = deletion_certificates::issued(connection, tenant).await?;
        parse(found.ok_or_else(|| Error::not_found("certificate"))?)
    }

    /// The draft of an erasure that is under way.
    pub(in crate::operations) async fn drafted(connection: &mut PgConnection, tenant: TenantId) -> Result<Self> {
        let found = deletion_certificates::drafted(connection, tenant).await?;
        parse(found.ok_or_else(|| Error::defect("an erasure has no draft of its certificate"))?)
    }

    /// Stores this as the draft.
    pub(in crate::operations) async fn draft(&self, connection: &mut PgConnection) -> Result<()> {
        deletion_certificates::draft(connection, self.tenant_id, &self.to_value()?).await
    }

    /// Issues it.
    pub(in crate::operations) async fn issue_in_txn(&self, txn: &mut PgConnection) -> Result<()> {
        deletion_certificates::issue_in_txn(txn, self.tenant_id, &self.to_value()?).await
    }

    fn to_value(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }
}

fn parse(value: serde_json::Value) -> Result<Certificate> {
    serde_json::from_value(value).map_err(Error::internal)
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
