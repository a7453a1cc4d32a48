//! TCP ports of the dev servers: free ones are chosen once and remembered, so that a server that is started
//! again from its folder is found again.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use anyhow::{Context, bail};

use crate::types::Random;

/// Below every system's ephemeral range: an outgoing connection must not take the port of a server that is
/// down for a moment.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;
const ATTEMPTS: usize = 100;

/// A free port that nobody else can take until the reservation is dropped.
pub(super) struct Reservation {
    port: u16,
    _listener: TcpListener,
}

impl Reservation {
    /// The port remembered in `file` if it is still free; else another, which is remembered from now on.
    pub(super) fn remembered(file: &Path) -> anyhow::Result<Self> {
        let before = fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
        if let Some(reservation) = before.and_then(Self::of) {
            return Ok(reservation);
        }
        let reservation = Self::any()?;
        fs::write(file, format!("{}\n", reservation.port))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(reservation)
    }

    /// The port itself. Drop the reservation right before the server starts.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    fn of(port: u16) -> Option<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some(Self { port, _listener: listener })
    }

    fn any() -> anyhow::Result<Self> {
        for _ in 0..ATTEMPTS {
            let port = FIRST + u16::from_le_bytes(Random.bytes()) % COUNT;
            if let Some(reservation) = Self::of(port) {
                return Ok(reservation);
            }
        }
        bail!("found no free port on 127.0.0.1 between {FIRST} and {}", FIRST + COUNT - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_remembered_until_somebody_else_has_it() {
        let folder = std::env::temp_dir().join(format!("freehold-ports-{}", Random.token()));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("port");
        let first = Reservation::remembered(&file).unwrap().port();
        let again = Reservation::remembered(&file).unwrap();
        assert_eq!(again.port(), first);
        let other = Reservation::remembered(&file).unwrap();
        assert_ne!(other.port(), first, "the first one is taken");
        fs::remove_dir_all(&folder).unwrap();
    }
}
