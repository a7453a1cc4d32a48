//! The sender of a request, as throttling, sessions and the audit log record it.

use std::net::IpAddr;

/// How many characters of a user agent are stored.
const AGENT_CHARS: usize = 512;

/// The sender of a request.
#[derive(Clone, Debug)]
pub struct Client {
    /// The peer's address.
    pub ip: IpAddr,
    /// The `User-Agent` header, as the client sent it.
    pub user_agent: Option<String>,
    /// The id of the request, which log lines and audit events share.
    pub request_id: Option<String>,
}

impl Client {
    /// The user agent as it is stored: shortened, and without characters that PostgreSQL cannot store.
    pub(super) fn agent(&self) -> Option<String> {
        self.user_agent.as_ref().map(|text| text.chars().filter(|c| *c != '\0').take(AGENT_CHARS).collect())
    }
}
