//! Invitations: an address, a role, and a secret that its bearer exchanges for an account.
//!
//! An invitation is open until it is accepted, revoked or expired, and each of these ends it. An expired one can be sent
//! again, with another secret; the one before is void then. An address has at most one open invitation, so that there is
//! no question which of several counts. Of the secret only a digest is stored, and a clone of the tenant has no
//! invitations. Whoever loses a role loses the open invitations that they made with it.
//!
//! | the invited address | is accepted by |
//! |---|---|
//! | has no account, or one that nobody has ever used | whoever has the secret ([`accept()`]), who chooses a password |
//! | has an account | whoever has the secret and is signed in to that account ([`join()`]) |
//!
//! An invitation must never set a password of an account that somebody uses already: it could be opened by whoever has the
//! mail. The answer to whoever invites must not show whether the address has an account.

mod accept;
mod join;
mod manage;
mod store;

pub use accept::{AcceptOutcome, Acceptance, accept};
pub use join::join;
pub use manage::{Filter, Invitation, NewInvitation, State, create, get, list, resend, revoke};
pub(super) use store::{
    TABLE, add_first, forget_ended as forget_ended_in_txn, purge, revoke_made_by as revoke_made_by_in_txn,
};

use secrecy::SecretString;

use super::{Identity, tokens::token_hash};
use crate::{
    error::{Error, Result},
    types::TenantId,
};

/// Whether the invitation with this token is open; none where the tenant's database has no such invitation. Does not
/// check the tenant's state.
///
/// # Errors
/// The tenant's database is unavailable.
pub(super) async fn is_open(ctx: &Identity, tenant: TenantId, token: &SecretString) -> Result<Option<bool>> {
    store::is_open(&ctx.tenancy.connect(tenant).await?, &token_hash(token)).await
}

/// The refusal of whatever is no open invitation.
fn not_open() -> Error {
    let detail = "the invitation is unknown, used, revoked or expired".to_owned();
    Error::Unprocessable { code: "invalid_invitation", detail }
}
