//! Finds out the client's address when a proxy forwards its request.
//!
//! Anybody can send `X-Forwarded-For`. So it is read from the right, and only as long as the address that added an
//! entry is a trusted proxy. The first address from the right that is no trusted proxy is the client. By default no
//! proxy is trusted, not even on loopback. The tenant of a request is never read from such a header.

use std::net::IpAddr;

use axum::http::HeaderMap;

use crate::types::Network;

/// How many entries are read at most.
const MAX_HOPS: usize = 16;

/// The trusted proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

/// The address that a request came from; an extension of every request that came through a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub(super) IpAddr);

impl TrustedProxies {
    /// Trusts the proxies in `networks`.
    #[must_use]
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// The address that the request came from, as far as those who say so are trusted.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let forwarded: Vec<&str> = forwarded.collect();
        let mut client = peer.to_canonical();
        for hop in forwarded.iter().flat_map(|value| value.split(',')).rev().take(MAX_HOPS) {
            if !self.trusts(client) {
                break;
            }
            // What a trusted proxy did not understand is not understood here either.
            let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
            client = address.to_canonical();
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, forwarded: &[&str]) -> String {
        let networks = trusted.split(',').filter(|text| !text.is_empty());
        let trusted = TrustedProxies::new(networks.map(|text| text.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        trusted.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_by_default() {
        assert_eq!(client("", "127.0.0.1", &["203.0.113.7"]), "127.0.0.1");
    }

    #[test]
    fn the_client_is_the_first_that_no_trusted_proxy_stands_behind() {
        let trusted = "10.0.0.0/8, ::1,2001:db8::/32";
        assert_eq!(client(trusted, "10.1.2.3", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(
            client(trusted, "10.1.2.3", &["198.51.100.1, 203.0.113.7, 10.9.9.9"]),
            "203.0.113.7",
            "not what a client wrote"
        );
        assert_eq!(
            client(trusted, "10.1.2.3", &["198.51.100.1", "203.0.113.7"]),
            "203.0.113.7",
            "over several headers"
        );
        assert_eq!(client(trusted, "::ffff:10.1.2.3", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client(trusted, "2001:db8::5", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client(trusted, "192.0.2.1", &["203.0.113.7"]), "192.0.2.1", "a stranger");
        assert_eq!(client(trusted, "10.1.2.3", &["nonsense"]), "10.1.2.3");
        assert_eq!(client(trusted, "10.1.2.3", &[]), "10.1.2.3");
        assert_eq!(client("0.0.0.0/0", "192.0.2.1", &["203.0.113.7"]), "203.0.113.7");
    }
}
