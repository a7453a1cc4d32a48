//! Sessions: what a sign-in opens, and what it is known by until it ends.
//!
//! A session begins when somebody proves who they are, hands out tokens, and is prolonged each time that they are
//! exchanged. It ends when its owner signs out, when one of its refresh tokens is used by two, when it was not used for
//! the configured time, and in any case after ninety days. All by the clock of the tenant's database. A session that
//! has ended never begins again, and its row says why it ended.
//!
//! An end is written first; then everybody who remembers what the session proved is told to forget it.
//!
//! This room must never tell by its answer, its work or its audit line whether an address is known, end a session
//! without making every replica look again, or hold a connection while a password is hashed.

mod login;
mod logout;
mod refresh;
mod store;

pub use login::{Login, LoginOutcome, Refusal, login};
pub use logout::{logout, logout_all};
pub use refresh::{RefreshOutcome, refresh};
use secrecy::SecretString;
pub(super) use store::{TABLE, role};

use super::{
    Client, Identity,
    tokens::{Grant, token_hash},
};
use crate::{
    error::Result,
    tenancy::TenantTxn,
    types::{SessionId, UserId},
};

/// Opens a session for a user. `None` when the user is not there or not active any more.
async fn open_in_txn(ctx: &Identity, txn: &TenantTxn<'_>, user: UserId, client: &Client) -> Result<Option<Grant>> {
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
    let role = store::open(txn, &new).await?;
    Ok(role.map(|role| Grant { session, user, role, refresh_token }))
}

/// How long a session lives without use, in seconds.
fn idle(ctx: &Identity) -> f64 {
    ctx.session_idle.as_secs_f64()
}
