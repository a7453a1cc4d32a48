//! Sessions: their beginning, their refresh tokens, and their end.
//!
//! A session begins when a user signs in. It is prolonged each time that its refresh token is exchanged. It ends when
//! the user signs out, when two parties use the same refresh token, when it was idle for the configured time, and at
//! the latest after ninety days. The clock of the tenant's database decides. An ended session never resumes, and its
//! row says why it ended.
//!
//! The end is first committed to the database. Then the replicas are told to discard the session's verified tokens.
//!
//! This module must never show whether an email address is known, neither by its response nor by its work or its audit
//! event. It must never end a session without making every replica verify its tokens again. It must never hold a
//! database connection while a password is hashed.

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

/// Opens a session for a user. `None` when the user does not exist or is not active.
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
