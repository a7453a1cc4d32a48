//! Sessions: their beginning, their refresh tokens, what they prove, and their end.
//!
//! A session begins when a user signs in. It is prolonged each time that its refresh token is exchanged. It ends when
//! the user signs out or revokes it, when they change their password in another one, when two parties use the same
//! refresh token, when it was idle for the configured time, and at the latest after ninety days. A tenant may let
//! sessions end sooner, and bound how many somebody has. The clock of the tenant's database decides. An ended session
//! never resumes, and its row says why it ended.
//!
//! A session remembers when its user last proved that they are there: when it began, or when they did so again
//! ([`step_up`]). What takes protection away asks for a proof of the last quarter of an hour (RFC 9470).
//!
//! The end is first committed to the database. Then the replicas are told to discard the session's verified tokens.
//!
//! This module must never show whether an email address is known, neither by its response nor by its work or its audit
//! event. It must never end a session without making every replica verify its tokens again. It must never hold a
//! database connection while a password is hashed. It must never hand out tokens without checking, in the transaction
//! that opens the session, that the user may have them.

mod device;
mod entry;
mod list;
mod login;
mod logout;
mod password;
mod proof;
mod refresh;
mod second_step;
mod store;

use std::time::Duration;

use device::known_device;
pub use entry::{LoginOutcome, Refusal, Unfinished};
pub use list::{Session, list, revoke};
pub use login::{Login, login};
pub use logout::{logout, logout_all};
pub use password::{PasswordChange, change_password};
pub use proof::{Proof, step_up};
pub(super) use proof::{require_alive_in_txn, require_proof_in_txn, verify_own_password};
pub use refresh::{RefreshOutcome, refresh};
pub use second_step::{SecondStep, verify_second_step};
use secrecy::SecretString;
pub(super) use store::{TABLE, end as end_in_txn, is_alive as is_alive_in_txn, purge};

use super::{
    Client, Identity,
    roles::Role,
    settings::MAX_SESSIONS,
    tokens::{self, Grant, token_hash},
};
use crate::{
    control::tenants::Tenant,
    error::Result,
    tenancy::{self, TenantConn, TenantTxn},
    types::{SchemaVersions, SessionId, UserId},
};

/// The version of a tenant's database from which on sessions remember proofs, and people may have second factors.
const PROOFS: SchemaVersions = SchemaVersions { freehold: 2, product: 0 };

/// How old the proof may be of a session in which protection is taken away.
const PROOF_AGE: Duration = Duration::from_mins(15);

/// What came of opening a session.
enum Opened {
    /// It is open. `has_ended`: others were ended to make room.
    Session { grant: Grant, has_ended: bool },
    /// The user does not exist or is not active.
    Inactive,
    /// The user has as many sessions as they may.
    Full,
}

/// Opens a session for a user, whose account is locked.
async fn open_in_txn(ctx: &Identity, txn: &TenantTxn<'_>, user: UserId, client: &Client) -> Result<Opened> {
    let room = store::make_room(txn, user, MAX_SESSIONS).await?;
    if room.is_refused {
        return Ok(Opened::Full);
    }
    let session = SessionId::generate(&ctx.clock, ctx.random);
    let refresh_token = SecretString::from(ctx.random.token());
    let new = store::New {
        id: session,
        user,
        rotation_key: ctx.random.bytes(),
        client,
        idle: idle(ctx),
        token_hash: token_hash(&refresh_token),
    };
    let Some(role) = store::open(txn, &new).await? else { return Ok(Opened::Inactive) };
    Ok(Opened::Session { grant: Grant { session, user, role, refresh_token }, has_ended: room.has_ended })
}

/// The role that the user of an access token has now. `None` when its session has ended or the user is not active. The
/// first time that an access token is shown proves that the answer with it, and with its refresh token, has arrived.
pub(super) async fn role(connection: &TenantConn, tenant: &Tenant, proof: &tokens::Proof) -> Result<Option<Role>> {
    let (of, issued_with) = ((proof.session, proof.user), proof.issued_with.as_deref());
    let found = store::role(connection, of, issued_with, knows_proofs(tenant)).await?;
    if let (Some((_, true)), Some(issued_with)) = (&found, issued_with) {
        store::confirm(connection, issued_with).await?;
    }
    Ok(found.map(|(role, _)| role))
}

/// Refuses what only databases can do that a rollout has taken to version 2.
///
/// # Errors
/// `tenant_schema_outdated`.
pub(super) fn require_version(tenant: &Tenant) -> Result<()> {
    tenancy::reaches(tenant, PROOFS)
}

fn knows_proofs(tenant: &Tenant) -> bool {
    require_version(tenant).is_ok()
}

/// How long a session lives without use, in seconds.
fn idle(ctx: &Identity) -> f64 {
    ctx.session_idle.as_secs_f64()
}
