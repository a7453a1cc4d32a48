//! The authenticated caller.

use super::Client;
use crate::{
    control::tenants::Tenant,
    error::{Error, Result},
    types::{ApiKeyId, Permission, SessionId, TenantId, UserId, VisitId},
};

/// How a caller has authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A user, with an access token.
    User {
        /// The user.
        user: UserId,
        /// The session that the token belongs to.
        session: SessionId,
    },
    /// A program with an API key.
    ApiKey {
        /// The key.
        key: ApiKeyId,
        /// The owner of the key.
        user: UserId,
    },
    /// An operator who acts as a user.
    Visitor {
        /// The user.
        user: UserId,
        /// The visit that the token belongs to.
        visit: VisitId,
        /// The operator: a user of the platform tenant.
        operator: UserId,
    },
}

impl Actor {
    /// Their id for audit logs and idempotency keys: `usr_…` or `key_…`; of a visitor, both: `usr_… as usr_…`.
    #[must_use]
    pub fn id_text(&self) -> String {
        match self {
            Self::User { user, .. } => user.to_string(),
            Self::ApiKey { key, .. } => key.to_string(),
            Self::Visitor { user, operator, .. } => format!("{operator} as {user}"),
        }
    }
}

/// Who asks for a change in a tenant, and how they came.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The tenant.
    pub tenant: &'a Tenant,
    /// Who asks.
    pub principal: &'a Principal,
    /// How they came.
    pub client: &'a Client,
}

/// An authenticated caller and their permissions. Only this module creates one, when it has verified a token.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The caller, and how they have authenticated.
    pub actor: Actor,
    /// The tenant whose user they are.
    pub tenant: TenantId,
    /// The user's role, as the tenant's database has it now.
    pub role: String,
    permissions: Vec<Permission>,
}

impl Principal {
    pub(super) fn new(actor: Actor, tenant: TenantId, role: String, permissions: Vec<Permission>) -> Self {
        Self { actor, tenant, role, permissions }
    }

    /// The user, or the owner of the API key.
    #[must_use]
    pub fn user(&self) -> UserId {
        match self.actor {
            Actor::User { user, .. } | Actor::ApiKey { user, .. } | Actor::Visitor { user, .. } => user,
        }
    }

    /// The caller's id for audit logs and idempotency keys.
    #[must_use]
    pub fn id_text(&self) -> String {
        self.actor.id_text()
    }

    /// Whether the caller has the permission.
    #[must_use]
    pub fn can(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Returns an error if the caller does not have the permission.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.can(permission) {
            return Ok(());
        }
        Err(Error::Forbidden {
            code: "forbidden",
            detail: format!("this needs the permission {}", permission.as_str()),
        })
    }

    /// The caller's permissions, in the order in which they are declared.
    pub fn permissions(&self) -> impl Iterator<Item = Permission> {
        self.permissions.iter().copied()
    }

    /// Refuses operators who act as somebody: for what is the user's own.
    ///
    /// # Errors
    /// `visitor`.
    pub(super) fn require_no_visit(&self) -> Result<()> {
        if matches!(self.actor, Actor::Visitor { .. }) { Err(not_for_visitors()) } else { Ok(()) }
    }

    /// The caller's session.
    ///
    /// # Errors
    /// `session_required` for API keys; `visitor` for operators who act as somebody.
    pub(super) fn session(&self) -> Result<SessionId> {
        match self.actor {
            Actor::User { session, .. } => Ok(session),
            Actor::ApiKey { .. } => {
                let detail = "this is for people who have signed in; an API key has no session".to_owned();
                Err(Error::Forbidden { code: "session_required", detail })
            }
            Actor::Visitor { .. } => Err(not_for_visitors()),
        }
    }
}

fn not_for_visitors() -> Error {
    let detail = "an operator who acts as somebody changes nothing about people, and has no session".to_owned();
    Error::Forbidden { code: "visitor", detail }
}
