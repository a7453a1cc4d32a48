//! Who is asking, once that is proven.

use crate::{
    error::{Error, Result},
    types::{ApiKeyId, Permission, SessionId, TenantId, UserId},
};

/// In what way somebody proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person with an access token.
    User {
        /// Who.
        user: UserId,
        /// The sign-in that the token belongs to.
        session: SessionId,
    },
    /// A program with an API key.
    ApiKey {
        /// The key.
        key: ApiKeyId,
        /// Whose key it is.
        user: UserId,
    },
}

/// Somebody who proved who they are, and what they may do. Made by `Identity::authenticate` alone.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Who, and how they proved it.
    pub actor: Actor,
    /// The tenant in which they are somebody.
    pub tenant: TenantId,
    /// The user's role, as the tenant's database says now.
    pub role: String,
    permissions: Vec<Permission>,
}

impl Principal {
    pub(super) fn new(actor: Actor, tenant: TenantId, role: String, permissions: Vec<Permission>) -> Self {
        Self { actor, tenant, role, permissions }
    }

    /// The user who asks, or whose API key does.
    #[must_use]
    pub fn user(&self) -> UserId {
        match self.actor {
            Actor::User { user, .. } | Actor::ApiKey { user, .. } => user,
        }
    }

    /// Who asks, for audit logs and idempotency keys: `usr_…` or `key_…`.
    #[must_use]
    pub fn id_text(&self) -> String {
        match self.actor {
            Actor::User { user, .. } => user.to_string(),
            Actor::ApiKey { key, .. } => key.to_string(),
        }
    }

    /// Whether they may.
    #[must_use]
    pub fn can(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }

    /// Refuses those who may not.
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

    /// What they may do, in the order in which permissions are declared.
    pub fn permissions(&self) -> impl Iterator<Item = Permission> {
        self.permissions.iter().copied()
    }

    /// The session, where there is one.
    ///
    /// # Errors
    /// `session_required` for API keys.
    pub(super) fn session(&self) -> Result<SessionId> {
        match self.actor {
            Actor::User { session, .. } => Ok(session),
            Actor::ApiKey { .. } => {
                let detail = "this is for people who have signed in; an API key has no session".to_owned();
                Err(Error::Forbidden { code: "session_required", detail })
            }
        }
    }
}
