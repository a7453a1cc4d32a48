//! What attempts are counted by, and how many each may have.

use std::net::{IpAddr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};

use crate::types::TenantId;

/// How many attempts a subject has before delays begin, and before it is locked (design.md §6).
struct Bounds {
    kind: &'static str,
    delay_at: i32,
    lock_at: i32,
}

const ACCOUNT: Bounds = Bounds { kind: "account", delay_at: 5, lock_at: 10 };
/// A device that is known counts for itself.
const DEVICE: Bounds = Bounds { kind: "device", delay_at: 5, lock_at: 10 };
/// Many people can share an address.
const ADDRESS: Bounds = Bounds { kind: "address", delay_at: 50, lock_at: 60 };
/// An IPv6 customer may be given a /48, which has 65,536 of what counts as one address.
const NETWORK: Bounds = Bounds { kind: "network", delay_at: 200, lock_at: 240 };
/// Tokens that were never given out, from one address. Nobody finds 256 random bits: this saves the work.
const TOKEN: Bounds = Bounds { kind: "token", delay_at: 50, lock_at: 60 };
/// Mails that are asked for from one address. What one mailbox gets is bounded apart.
const MAIL: Bounds = Bounds { kind: "mail", delay_at: 50, lock_at: 60 };

/// In vain from one address: how many accounts, until it is refused whatever it tries.
const NAMES_OF_ADDRESS: i32 = 20;
/// The same from a whole network.
const NAMES_OF_NETWORK: i32 = 80;

/// What one attempt is counted by. The parts are in one order: the statements take them as arrays.
#[derive(Clone, Default)]
pub(super) struct Subjects {
    pub(super) digests: Vec<Vec<u8>>,
    pub(super) kinds: Vec<&'static str>,
    pub(super) delay_at: Vec<i32>,
    pub(super) lock_at: Vec<i32>,
    /// How many accounts may be tried in vain. Very many where nobody counts them.
    pub(super) names_at: Vec<i32>,
    /// What success absolves: the account, or the device.
    pub(super) own: Option<Vec<u8>>,
    /// The account, for the networks that it is tried from.
    pub(super) name: Option<Vec<u8>>,
}

impl Subjects {
    /// An attempt on the account that `name`, as submitted, is or would be.
    pub(super) fn of_account(tenant: TenantId, name: &str, address: IpAddr) -> Self {
        let account = account(tenant, name);
        let mut subjects = Self { own: Some(account.clone()), name: Some(account.clone()), ..Self::default() };
        subjects.add(&ACCOUNT, account, i32::MAX);
        subjects.add_networks(tenant, address);
        subjects
    }

    /// The same from a device that is known to its owner. Strangers have no part in its count.
    pub(super) fn of_device(tenant: TenantId, name: &str, digest: &str) -> Self {
        let own = device(tenant, digest);
        let mut subjects = Self { own: Some(own.clone()), name: Some(account(tenant, name)), ..Self::default() };
        subjects.add(&DEVICE, own, i32::MAX);
        subjects
    }

    /// A token that was never given out.
    pub(super) fn of_token(tenant: TenantId, address: IpAddr) -> Self {
        Self::of_address(&TOKEN, tenant, address)
    }

    /// A mail that is asked for.
    pub(super) fn of_mail(tenant: TenantId, address: IpAddr) -> Self {
        Self::of_address(&MAIL, tenant, address)
    }

    fn of_address(bounds: &Bounds, tenant: TenantId, address: IpAddr) -> Self {
        let mut subjects = Self::default();
        subjects.add(bounds, subject(bounds, tenant, &narrow(address).to_string()), i32::MAX);
        subjects
    }

    fn add_networks(&mut self, tenant: TenantId, address: IpAddr) {
        self.add(&ADDRESS, subject(&ADDRESS, tenant, &narrow(address).to_string()), NAMES_OF_ADDRESS);
        if let Some(network) = wide(address) {
            self.add(&NETWORK, subject(&NETWORK, tenant, &network.to_string()), NAMES_OF_NETWORK);
        }
    }

    fn add(&mut self, bounds: &Bounds, digest: Vec<u8>, names_at: i32) {
        self.digests.push(digest);
        self.kinds.push(bounds.kind);
        self.delay_at.push(bounds.delay_at);
        self.lock_at.push(bounds.lock_at);
        self.names_at.push(names_at);
    }
}

/// The account that a name, however it is written, is or would be.
pub(super) fn account(tenant: TenantId, name: &str) -> Vec<u8> {
    subject(&ACCOUNT, tenant, &name.trim().to_lowercase())
}

/// A device that is known, of which this is the digest.
pub(super) fn device(tenant: TenantId, digest: &str) -> Vec<u8> {
    subject(&DEVICE, tenant, digest)
}

/// From how many attempts on an account has delays, and is locked.
pub(super) const fn account_bounds() -> (i32, i32) {
    (ACCOUNT.delay_at, ACCOUNT.lock_at)
}

fn subject(bounds: &Bounds, tenant: TenantId, what: &str) -> Vec<u8> {
    digest(&SHA256, format!("{}\0{tenant}\0{what}", bounds.kind).as_bytes()).as_ref().to_vec()
}

/// What counts as one address: an IPv4 address, or the /64 that one IPv6 customer is given at least.
fn narrow(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(prefix(v6, 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The /48 that one IPv6 customer is given at most.
fn wide(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V6(v6) => Some(IpAddr::V6(prefix(v6, 48))),
        IpAddr::V4(_) => None,
    }
}

fn prefix(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, Random};

    fn tenant() -> TenantId {
        TenantId::generate(&Clock::default(), Random)
    }

    #[test]
    fn one_ipv6_customer_is_one_address_in_one_network() {
        let parse = |text: &str| text.parse().unwrap();
        assert_eq!(narrow(parse("2001:db8::1")), narrow(parse("2001:db8::ffff:1")));
        assert_ne!(narrow(parse("2001:db8::1")), narrow(parse("2001:db8:0:1::1")));
        assert_eq!(wide(parse("2001:db8::1")), wide(parse("2001:db8:0:ffff::1")));
        assert_ne!(wide(parse("2001:db8::1")), wide(parse("2001:db8:1::1")));
        assert_eq!((narrow(parse("::ffff:192.0.2.1")), wide(parse("::ffff:192.0.2.1"))), (parse("192.0.2.1"), None));
    }

    #[test]
    fn a_name_is_one_account_however_it_is_written_and_another_one_elsewhere() {
        let (here, there) = (tenant(), tenant());
        assert_eq!(account(here, " Ada@Example.com"), account(here, "ada@example.com"));
        assert_ne!(account(here, "ada@example.com"), account(there, "ada@example.com"));
    }

    #[test]
    fn a_known_device_counts_for_itself_and_a_token_for_its_address() {
        let (tenant, home) = (tenant(), "2001:db8::1".parse().unwrap());
        let kinds = |subjects: Subjects| subjects.kinds;
        assert_eq!(kinds(Subjects::of_account(tenant, "ada", home)), ["account", "address", "network"]);
        assert_eq!(kinds(Subjects::of_device(tenant, "ada", "digest")), ["device"]);
        assert_eq!(kinds(Subjects::of_token(tenant, home)), ["token"]);
        assert_eq!(kinds(Subjects::of_mail(tenant, home)), ["mail"]);
    }
}
