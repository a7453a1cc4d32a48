//! How a request came: what throttling, sessions and audit logs are told of its sender.

use std::net::IpAddr;

/// In characters: what is kept of an agent.
const AGENT_CHARS: usize = 512;

/// How a request came.
#[derive(Clone, Debug)]
pub struct Client {
    /// The peer's address.
    pub ip: IpAddr,
    /// As the client sent it.
    pub user_agent: Option<String>,
    /// Ties log lines and audit events together.
    pub request_id: Option<String>,
}

impl Client {
    /// The agent as it is stored: its beginning, without what PostgreSQL cannot hold.
    pub(super) fn agent(&self) -> Option<String> {
        self.user_agent.as_ref().map(|text| text.chars().filter(|c| *c != '\0').take(AGENT_CHARS).collect())
    }
}
