//! Signs a user in with email address and password.
//!
//! All refusals have the same response and the same cost: one query, one hash, one audit event. It does not matter
//! whether the address is unknown or malformed, the user is inactive or has no password, or the password is wrong. The
//! attempt is counted before all that. No database connection is held while the password is hashed.
//!
//! Only who knows the password learns more: that the address has to be verified, the password to be changed, or that a
//! code is needed. The request may bring a code and a new password along, or the sign-in goes on with a token
//! ([`verify_second_step`](super::verify_second_step)).

use secrecy::{ExposeSecret, SecretString};

use super::{
    entry::{Entry, LoginOutcome, Refusal, enter, meter, refuse, settle},
    known_device, require_version,
};
use crate::{
    control::tenants::Tenant,
    error::Result,
    identity::{
        Client, Identity, credentials, guesses, links,
        people::{self, Account},
    },
    mail::Words,
    types::Email,
};

/// A request to sign in.
#[derive(Debug)]
pub struct Login {
    /// The email address as it was submitted: a malformed one costs as much as an unknown one. It is a `SecretString`
    /// because it is personal data, which must not be logged.
    pub email: SecretString,
    /// The password as it was submitted.
    pub password: SecretString,
    /// A code of the authenticator app, or a recovery code, if there is a second factor.
    pub code: Option<SecretString>,
    /// What a device shows that signed in before; one that is trusted, in place of a code.
    pub device_token: Option<SecretString>,
    /// Whether the device is to be trusted, if it shows a code.
    pub trust_device: bool,
    /// The password from now on.
    pub new_password: Option<SecretString>,
}

impl Login {
    /// The address, if it is one.
    fn email(&self) -> Option<Email> {
        self.email.expose_secret().trim().parse().ok()
    }
}

/// Signs a user in.
///
/// # Errors
/// `too_many_attempts`; `hashing_busy`; those of the tenant's policy on `new_password`, if the password is right.
pub async fn login(ctx: &Identity, tenant: &Tenant, request: &Login, client: &Client) -> Result<LoginOutcome> {
    // However an address is written, its failures are counted together.
    let email = request.email();
    let name = email.as_ref().map_or_else(|| request.email.expose_secret(), Email::as_str);
    let device = known_device(ctx, tenant, name, request.device_token.as_ref()).await?;
    let reservation = guesses::reserve(ctx, tenant, (name, device.as_deref()), client).await?;
    let outcome = sign_in(ctx, tenant, request, client).await;
    settle(ctx, reservation, &outcome, client).await;
    meter(&outcome);
    outcome
}

async fn sign_in(ctx: &Identity, tenant: &Tenant, request: &Login, client: &Client) -> Result<LoginOutcome> {
    ctx.issuer.prepare(tenant).await?;
    let key = ctx.factor_key(tenant).await?;
    let email = request.email();
    let account = people::account(&ctx.tenancy.connect(tenant.id).await?, email.as_ref()).await?;
    let hash = account.as_ref().and_then(|account| account.password_hash.clone());
    let is_right = ctx.hasher.verify(&request.password, hash, credentials::REQUEST).await?;
    let (account, hash) = match judge(account.as_ref(), is_right) {
        Ok(entitled) => entitled,
        Err(refusal) => {
            let user = account.as_ref().map(|account| account.user);
            return refuse(ctx, tenant, user, client, refusal).await;
        }
    };
    let chosen = choose(ctx, tenant, account, request).await?;
    let notice = match &chosen {
        Some(_) => links::announce(ctx, tenant, (&account.email, Words::PasswordChanged), client).await?,
        None => None,
    };
    let anew = match &chosen {
        Some(_) => None,
        None => credentials::hash_anew(ctx, &request.password, hash).await,
    };
    let entry = Entry {
        user: account.user,
        hash: Some(hash),
        step: None,
        code: request.code.as_ref(),
        device_token: request.device_token.as_ref(),
        trusts_device: request.trust_device,
        chosen: chosen.as_ref(),
        anew: anew.as_deref(),
        notice: notice.as_ref(),
        knows_devices: guesses::are_counted(tenant),
        key: &key,
    };
    enter(ctx, tenant, &entry, client).await
}

/// The account that may sign in and the hash of its password, or the refusal.
fn judge(account: Option<&Account>, is_right: bool) -> Result<(&Account, &str), Refusal> {
    let Some(account) = account.filter(|account| is_right && account.is_active) else {
        return Err(Refusal::InvalidCredentials);
    };
    match &account.password_hash {
        Some(hash) if account.is_verified => Ok((account, hash.as_str())),
        Some(_) => Err(Refusal::EmailNotVerified),
        None => Err(Refusal::InvalidCredentials),
    }
}

/// The new password of the request, hashed, if there is one.
async fn choose(
    ctx: &Identity,
    tenant: &Tenant,
    account: &Account,
    request: &Login,
) -> Result<Option<credentials::Chosen>> {
    const FIELD: &str = "new_password";
    let Some(new) = &request.new_password else { return Ok(None) };
    require_version(tenant)?;
    if new.expose_secret() == request.password.expose_secret() {
        return Err(credentials::used_before(FIELD));
    }
    credentials::choose(ctx, tenant, (account.user, &account.email), (FIELD, new)).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, Random, UserId};

    #[test]
    fn only_the_right_password_of_an_active_account_says_more_than_no() {
        let user = UserId::generate(&Clock::default(), Random);
        for is_right in [false, true] {
            for (is_active, is_verified) in [(false, false), (false, true), (true, false), (true, true)] {
                let account = Account {
                    user,
                    email: String::new(),
                    is_active,
                    is_verified,
                    password_hash: Some("hash".to_owned()),
                    must_change: true,
                    has_factor: true,
                    needs_factor: true,
                };
                let expected = match (is_right && is_active, is_verified) {
                    (true, true) => Ok("hash"),
                    (true, false) => Err(Refusal::EmailNotVerified),
                    (false, _) => Err(Refusal::InvalidCredentials),
                };
                let judged = judge(Some(&account), is_right).map(|(_, hash)| hash);
                assert_eq!(judged, expected, "{is_right} {is_active} {is_verified}");
            }
            assert_eq!(judge(None, is_right).err(), Some(Refusal::InvalidCredentials));
        }
    }
}
