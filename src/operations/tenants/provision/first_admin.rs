//! A tenant's first administrator: the secret that the operation stores, and the step that creates the user.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::Admin;
use crate::{
    control::{
        sealing::DataKey,
        secrets::{self, Purpose},
    },
    error::{Error, Result},
    identity::{
        first_admin::{self, FirstAdmin},
        letters,
    },
    operations::{Context, engine::run::Run},
    types::{DisplayName, Email, SchemaVersions, TenantId},
};

/// The secrets from which a first administrator may be created.
const KEPT: [Purpose; 2] = [Purpose::FirstAdminPassword, Purpose::FirstAdminInvitation];

/// An invitation for the first administrator. Only the response to the request for the tenant has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invitation {
    token: String,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
}

impl Invitation {
    /// The secret token with which it is accepted.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// The operation's input, as the control database stores it. It holds no secret.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::operations::tenants) struct Input {
    pub(in crate::operations::tenants) admin: Option<InputAdmin>,
    /// The newest migrations when the tenant was recorded. Its database is created from them, even if newer ones have
    /// been published since.
    versions: SchemaVersions,
}

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::operations::tenants) struct InputAdmin {
    pub(in crate::operations::tenants) email: Email,
    #[serde(deserialize_with = "DisplayName::deserialize_stored")]
    name: DisplayName,
}

impl Input {
    pub(in crate::operations::tenants) fn new(admin: Option<&Admin>, versions: SchemaVersions) -> Result<Self> {
        Ok(Self { admin: admin.map(InputAdmin::new).transpose()?, versions })
    }
}

impl InputAdmin {
    fn new(admin: &Admin) -> Result<Self> {
        let local_part = admin.email.as_str().split('@').next().unwrap_or_default();
        let name = admin.name.clone().map_or_else(|| local_part.parse(), Ok).map_err(Error::internal)?;
        Ok(Self { email: admin.email.clone(), name })
    }
}

/// Stores, encrypted, the secret that the operation needs to create the first administrator, and has an invitation
/// mailed where mail is sent: the job waits until the invitation is in the tenant's database. The operation hashes the
/// password, not the request, so that a burst of requests does not wait for hashes. See docs/decisions.
pub(in crate::operations::tenants) async fn keep_in_txn(
    ctx: &Context,
    txn: &mut PgConnection,
    (key, id): (&DataKey, TenantId),
    admin: &Admin,
) -> Result<Option<Invitation>> {
    if let Some(password) = &admin.password {
        secrets::put(txn, key, id.uuid(), Purpose::FirstAdminPassword, password).await?;
        return Ok(None);
    }
    let lifetime = TimeDelta::from_std(ctx.invitation).map_err(Error::internal)?;
    let invitation = Invitation { token: ctx.random.token(), expires_at: ctx.clock.now() + lifetime };
    let text = SecretString::from(serde_json::to_string(&invitation).map_err(Error::internal)?);
    secrets::put(txn, key, id.uuid(), Purpose::FirstAdminInvitation, &text).await?;
    let letter = letters::Invitation {
        to: admin.email.clone(),
        token: invitation.token.clone(),
        expires_at: invitation.expires_at,
    };
    letters::queue_invitation_in_txn(&ctx.identity, txn, (key, id), &letter).await?;
    Ok(Some(invitation))
}

/// Creates the first administrator. Then deletes the stored password. Keeps the invitation, so that a repeated request
/// gets the same response.
pub(in crate::operations::tenants) async fn create_first_admin(run: &Run) -> Result<()> {
    let (ctx, id) = (&run.ctx, run.tenant_id());
    let input: Input = run.input()?;
    let Some(InputAdmin { email, name }) = input.admin else { return Ok(()) };
    let kept = secrets::first_of(&mut *ctx.db.acquire().await?, &ctx.keys, id.uuid(), &KEPT).await?;
    let Some((purpose, secret)) = kept else { return find_first_admin(ctx, id, &email).await };
    let how = first_admin(purpose, secret)?;
    first_admin::ensure(&ctx.identity, id, (&email, &name), &how).await?;
    if purpose == Purpose::FirstAdminPassword {
        let mut txn = run.begin().await?;
        secrets::delete(&mut txn, id.uuid(), purpose).await?;
        txn.commit().await?;
    }
    Ok(())
}

/// Checks that the first administrator exists. The stored password is gone only when an earlier attempt has created the
/// user and failed to record the step. Nobody else can have changed the user, because the tenant is not open yet.
async fn find_first_admin(ctx: &Context, id: TenantId, email: &Email) -> Result<()> {
    if first_admin::exists(&ctx.identity, id, email).await? {
        return Ok(());
    }
    Err(Error::defect("the first administrator is not there, and what would make them is gone"))
}

fn first_admin(purpose: Purpose, secret: SecretString) -> Result<FirstAdmin> {
    if purpose == Purpose::FirstAdminPassword {
        return Ok(FirstAdmin::Password(secret));
    }
    let Invitation { token, expires_at } = serde_json::from_str(secret.expose_secret()).map_err(Error::internal)?;
    Ok(FirstAdmin::Invitation { token: token.into(), expires_at })
}
