//! The first proof of an address.
//!
//! Until an address is proven, whoever has typed it may have made the account: somebody else, who waits until its owner
//! comes ("pre-account hijacking"). So the first proof ends all that was made before it. It is done in the transaction that
//! notes the proof, with the account locked: a request that is under way either was committed before, and is ended, or finds
//! its session gone.

use super::{api_keys, credentials, links, sessions, steps};
use crate::{error::Result, tenancy::TenantTxn, types::UserId};

/// Ends every session, unfinished sign-in, API key and link of an account, and removes its passwords and second factors. The
/// account is locked.
pub(super) async fn void_in_txn(txn: &TenantTxn<'_>, user: UserId) -> Result<()> {
    sessions::end_in_txn(txn, user, None, "email.proven").await?;
    steps::end_in_txn(txn, user).await?;
    api_keys::revoke_all_in_txn(txn, user).await?;
    credentials::remove_all_in_txn(txn, user).await?;
    links::end_in_txn(txn, user).await
}
