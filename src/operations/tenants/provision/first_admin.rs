//! A tenant's first administrator: what the operation keeps of them, and the step that makes them.

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
    identity::first_admin::{self, FirstAdmin},
    operations::{Context, engine::run::Run},
    types::{DisplayName, Email, SchemaVersions, TenantId},
};

/// What there may be to make them from.
const KEPT: [Purpose; 2] = [Purpose::FirstAdminPassword, Purpose::FirstAdminInvitation];

/// An invitation that is told once, to whoever made the tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invitation {
    token: String,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
}

impl Invitation {
    /// The secret that accepts it.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// The operation's input, as the control database holds it. Never secret.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Input {
    pub(super) admin: Option<InputAdmin>,
    /// The newest migrations when the tenant was recorded: its database is made from them, whenever that is.
    versions: SchemaVersions,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct InputAdmin {
    pub(super) email: Email,
    #[serde(deserialize_with = "DisplayName::deserialize_stored")]
    name: DisplayName,
}

impl Input {
    pub(super) fn new(admin: Option<&Admin>, versions: SchemaVersions) -> Result<Self> {
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

/// Seals what the operation needs to make the first administrator: a password is hashed there, not here, so
/// that a burst of requests never waits for hashes. See docs/decisions.
pub(super) async fn keep_in_txn(
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
    Ok(Some(invitation))
}

/// Makes the first administrator. Their password is destroyed then; their invitation is kept, to answer from.
pub(super) async fn create_first_admin(run: &Run) -> Result<()> {
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

/// Without a secret an earlier attempt has made the administrator and only failed to record it. Nobody else can have
/// changed or removed them: the tenant is not open yet.
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
