//! Counts attempts to guess: passwords, codes, and tokens.
//!
//! An attempt is counted before anything is looked up, and the count is taken back when it succeeds. So of many attempts
//! at once exactly the allowed number gets through, whichever replicas they come to. The counts are rows of the tenant's
//! own database: what an attempt needs anyway. Names that nobody has are counted too.
//!
//! After five failures of one account there are delays of 1, 2, 4, … seconds, after ten it is locked for fifteen
//! minutes. An address has more, because many people can share one, and an IPv6 customer is counted by the /64 and by
//! the /48. Refused attempts are not counted, so a stranger cannot prolong a lock. An attempt without a result, because
//! the client hung up or the replica died, stays counted.
//!
//! * **A device that is known** ([`credentials`](super::credentials)) has a count of its own. So strangers who lock an
//!   account do not lock its owner out.
//! * **A network that tries many accounts in vain** is refused, whatever it tries ([`Reservation::failed`]).
//! * **A mail that is asked for** is counted by the address that asks ([`count_mail`]).
//! * **A token is not guessed**: it has 256 random bits. Those of mailed links and invitations cost a hash, so that they are
//!   counted before the look-up ([`reserve_token`]), and others after it ([`unknown_token`]): by their address, apart from
//!   passwords.
//!
//! In a tenant's database that no rollout has taken to [`GUESSES_SINCE`], attempts are counted as before, in Redis or in memory
//! ([`limits`]).
//!
//! docs/decisions/0041 says why. This module must never store a name or an address: rows hold digests.

mod store;
mod subjects;

use std::time::Duration;

use serde_json::json;
use subjects::Subjects;

use self::store::Reserved;
pub(super) use self::store::{TABLE, purge};
use super::{
    Client, Identity,
    audit::{self, ANONYMOUS, Event},
    require_schema,
};
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    limits,
    tenancy::{Statements, TenantTxn},
    types::TenantId,
};

/// The version of a tenant's database from which on attempts are counted in it, and devices are known.
pub(super) const GUESSES_SINCE: i32 = 6;

/// How often a row may be forgotten while an attempt is being counted.
const MOST_TRIES: u8 = 5;

/// Whether the tenant's database counts attempts and knows devices.
pub(super) fn are_counted(tenant: &Tenant) -> bool {
    require_schema(tenant, GUESSES_SINCE).is_ok()
}

/// An attempt that was admitted and counts as failed until it is settled.
#[must_use = "an attempt that is not settled stays counted"]
pub(super) struct Reservation(Counted);

enum Counted {
    Here(TenantId, Subjects),
    /// In a database of an earlier version.
    Elsewhere(limits::Reservation),
}

/// Counts an attempt on the account that `name`, as submitted, is or would be. `device` is the digest of a device that is
/// known to belong to the account.
///
/// # Errors
/// `too_many_attempts` with the time to wait; nothing is counted then.
pub(super) async fn reserve(
    ctx: &Identity,
    tenant: &Tenant,
    (name, device): (&str, Option<&str>),
    client: &Client,
) -> Result<Reservation> {
    let subjects = match device {
        Some(device) => Subjects::of_device(tenant.id, name, device),
        None => Subjects::of_account(tenant.id, name, client.ip),
    };
    reserve_of(ctx, tenant, (name, subjects), client).await
}

/// Counts that somebody shows a token, before it is looked up: by their address, and apart from passwords. `name` is what is
/// counted by in a database of an earlier version.
///
/// # Errors
/// `too_many_attempts`; nothing is counted then.
pub(super) async fn reserve_token(ctx: &Identity, tenant: &Tenant, name: &str, client: &Client) -> Result<Reservation> {
    reserve_of(ctx, tenant, (name, Subjects::of_token(tenant.id, client.ip)), client).await
}

/// Counts that somebody asks for a mail, by their address. It stays counted: there is no success that absolves.
///
/// # Errors
/// `too_many_attempts`; nothing is counted then.
pub(super) async fn count_mail(ctx: &Identity, tenant: &Tenant, name: &str, client: &Client) -> Result<()> {
    reserve_of(ctx, tenant, (name, Subjects::of_mail(tenant.id, client.ip)), client).await.map(drop)
}

async fn reserve_of(
    ctx: &Identity,
    tenant: &Tenant,
    (name, subjects): (&str, Subjects),
    client: &Client,
) -> Result<Reservation> {
    if !are_counted(tenant) {
        let reservation = ctx.attempts.reserve(tenant.id, name, client.ip).await?;
        return Ok(Reservation(Counted::Elsewhere(reservation)));
    }
    count(ctx, tenant, &subjects).await?;
    Ok(Reservation(Counted::Here(tenant.id, subjects)))
}

/// Counts a token that was never given out.
///
/// # Errors
/// `too_many_attempts`, instead of what would be said of the token.
pub(super) async fn unknown_token(ctx: &Identity, tenant: &Tenant, client: &Client) -> Result<()> {
    if !are_counted(tenant) {
        return Ok(());
    }
    count(ctx, tenant, &Subjects::of_token(tenant.id, client.ip)).await?;
    store::sweep(&ctx.tenancy.connect(tenant.id).await?).await
}

async fn count(ctx: &Identity, tenant: &Tenant, subjects: &Subjects) -> Result<()> {
    let connection = ctx.tenancy.connect(tenant.id).await?;
    for _ in 0..MOST_TRIES {
        match store::reserve(&connection, subjects).await? {
            Reserved::Counted => return Ok(()),
            Reserved::Again => {}
            Reserved::Wait(wait) => {
                metrics::counter!("freehold_attempts_refused_total").increment(1);
                // Names that were tried in vain are swept away by whoever goes on trying.
                store::sweep(&connection).await?;
                return Err(Error::TooMany { code: "too_many_attempts", retry_after: whole_seconds(wait) });
            }
        }
    }
    let detail = "attempts are settled faster than this one can be counted; try again";
    Err(Error::unavailable("attempts_busy", detail, None))
}

/// Rounded up, so that a client that waits for this time is not refused again.
fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs(u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX))
}

impl Reservation {
    /// The attempt succeeded: forgets the account's failures, or the device's, and this attempt of the address.
    pub(super) async fn succeeded(self, ctx: &Identity) {
        match self.0 {
            Counted::Elsewhere(reservation) => reservation.succeeded().await,
            Counted::Here(tenant, subjects) => settle(ctx, tenant, &subjects, subjects.own.as_deref()).await,
        }
    }

    /// Nothing was guessed, because a dependency was away or more is needed: takes the attempt back.
    pub(super) async fn withdraw(self, ctx: &Identity) {
        match self.0 {
            Counted::Elsewhere(reservation) => reservation.withdraw().await,
            Counted::Here(tenant, subjects) => settle(ctx, tenant, &subjects, None).await,
        }
    }

    /// The guess was wrong: the attempt stays counted. A network that has tried too many accounts is refused from now on,
    /// and the tenant's audit log says so.
    pub(super) async fn failed(self, ctx: &Identity, client: &Client) {
        let Counted::Here(tenant, subjects) = self.0 else { return };
        if let Err(error) = fail(ctx, tenant, &subjects, client).await {
            tracing::warn!(error = error.chain(), tenant.id = %tenant, "a failed attempt was counted, and not its account");
        }
    }
}

/// Without an answer the attempt stays counted.
async fn settle(ctx: &Identity, tenant: TenantId, subjects: &Subjects, own: Option<&[u8]>) {
    let settled = async {
        let connection = ctx.tenancy.connect(tenant).await?;
        store::settle(&connection, subjects, own).await?;
        store::sweep(&connection).await
    };
    if let Err(error) = settled.await {
        tracing::warn!(error = error.chain(), tenant.id = %tenant, "an attempt stays counted that did not fail");
    }
}

async fn fail(ctx: &Identity, tenant: TenantId, subjects: &Subjects, client: &Client) -> Result<()> {
    let mut connection = ctx.tenancy.connect(tenant).await?;
    let txn = connection.begin().await?;
    for barred in store::fail(&txn, subjects).await? {
        metrics::counter!("freehold_spraying_total", "kind" => of_kind(&barred.kind)).increment(1);
        let details = json!({ "network": of_kind(&barred.kind), "accounts": barred.names });
        let event = Event { actor: ANONYMOUS, action: "sign_in.spraying", target: None, details };
        audit::write(ctx, &txn, client, &event).await?;
    }
    txn.commit().await?;
    store::sweep(&connection).await
}

/// The label of a kind of network.
fn of_kind(kind: &str) -> &'static str {
    if kind == "network" { "network" } else { "address" }
}

/// How attempts on an account stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// How many count.
    pub(super) tries: i32,
    /// How long the next one has to wait.
    pub(super) wait: Option<Duration>,
}

impl Standing {
    /// Whether there were so many that the account is locked, and not only slowed down.
    pub(super) fn is_locked(self) -> bool {
        self.wait.is_some() && self.tries >= subjects::account_bounds().1
    }
}

/// How attempts on the account with this address stand.
pub(super) async fn standing(statements: &impl Statements, email: &str) -> Result<Standing> {
    let account = subjects::account(statements.tenant(), email);
    let (tries, wait) = store::status(statements, &account, subjects::account_bounds()).await?;
    Ok(Standing { tries, wait })
}

/// Forgets the attempts on the account with this address, and those of the devices with these digests; how many.
pub(super) async fn forget_in_txn(txn: &TenantTxn<'_>, email: &str, devices: &[String]) -> Result<i64> {
    let tenant = txn.tenant();
    let devices = devices.iter().map(|device| subjects::device(tenant, device));
    let subjects: Vec<_> = devices.chain([subjects::account(tenant, email)]).collect();
    store::forget(txn, &subjects).await
}
