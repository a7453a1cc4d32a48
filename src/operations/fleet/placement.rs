//! Chooses the server for a new tenant: the least full one that may take it. Among equally full ones it prefers a
//! server with a warm database.
//!
//! Servers are read without a lock, so many concurrent requests may choose the same one. No server gets more tenants
//! than its capacity all the same: the control database counts when a request commits. A request that is refused then
//! chooses again.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::{
    control::servers::{self, Candidate, Server},
    error::{Error, FieldError, Result},
    types::ServerId,
};

/// The capacity that is assumed for a server without one, unless another server has a larger capacity.
const NOMINAL_CAPACITY: i64 = 1_000;

/// How often a request chooses a server before it gives up, because each chosen one became full before the commit.
pub(in crate::operations) const ATTEMPTS: usize = 5;

/// Which servers a request accepts.
#[derive(Clone, Copy, Debug)]
pub(in crate::operations) struct Wishes<'a> {
    /// The server's name.
    pub(in crate::operations) server: Option<&'a str>,
    /// Its region.
    pub(in crate::operations) region: Option<&'a str>,
    /// Labels that it must have. It may have others too.
    pub(in crate::operations) labels: &'a BTreeMap<String, String>,
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

impl Wishes<'static> {
    /// No wishes: any server.
    const ANYWHERE: Self = Self { server: None, region: None, labels: &NO_LABELS };
}

impl Wishes<'_> {
    fn fit(&self, candidate: &Candidate) -> bool {
        let has = |(name, value): (&String, &String)| candidate.labels[name].as_str() == Some(value);
        (self.region.is_none() || candidate.region.as_deref() == self.region) && self.labels.iter().all(has)
    }
}

/// Chooses the server for a new tenant.
///
/// # Errors
/// `unknown_server`, `unknown_region`, `unknown_labels` on their fields; `no_server_available` (409) with the reason.
pub(in crate::operations) async fn choose_in_txn(txn: &mut PgConnection, wishes: Wishes<'_>) -> Result<ServerId> {
    let candidates = servers::candidates(txn).await?;
    choose(&candidates, wishes).map(|chosen| chosen.id)
}

/// Chooses the server for the clone of a tenant on `home`: `home` itself if it takes tenants, otherwise a server of the
/// same region. A tenant's data never leaves the region that was chosen for it.
///
/// # Errors
/// `no_server_available` (409) with the reason.
pub(in crate::operations) async fn choose_beside_in_txn(txn: &mut PgConnection, home: &Server) -> Result<ServerId> {
    let mut candidates = servers::candidates(txn).await?;
    for candidate in &mut candidates {
        candidate.ready = 0;
    }
    choose_beside(&candidates, &home.name, home.region.as_deref())
}

fn choose_beside(candidates: &[Candidate], home: &str, region: Option<&str>) -> Result<ServerId> {
    let same = choose(candidates, Wishes { server: Some(home), ..Wishes::ANYWHERE });
    let chosen = same.or_else(|_| match region {
        Some(_) => choose(candidates, Wishes { region, ..Wishes::ANYWHERE }),
        None => best(candidates.iter().filter(|candidate| candidate.region.is_none() && !candidate.cordoned))
            .ok_or_else(|| unavailable("every server without a region is cordoned or full")),
    })?;
    Ok(chosen.id)
}

/// The error when every chosen server became full before the commit.
pub(in crate::operations) fn overtaken() -> Error {
    unavailable("every server that was chosen has filled up meanwhile")
}

fn choose<'a>(candidates: &'a [Candidate], wishes: Wishes<'_>) -> Result<&'a Candidate> {
    let meant = meant(candidates, wishes)?;
    let open: Vec<_> = meant.iter().copied().filter(|candidate| !candidate.cordoned).collect();
    best(open.iter().copied()).ok_or_else(|| refusal(wishes, meant.len(), open.len()))
}

/// The least full of the servers that have room.
fn best<'a>(open: impl Iterator<Item = &'a Candidate>) -> Option<&'a Candidate> {
    let roomy: Vec<_> = open.filter(|candidate| candidate.has_room()).collect();
    let largest = roomy.iter().filter_map(|candidate| candidate.capacity).max().map_or(0, i64::from);
    let nominal = largest.max(NOMINAL_CAPACITY);
    roomy.into_iter().min_by_key(|candidate| {
        (candidate.percent_full(nominal), candidate.ready == 0, candidate.tenants, &candidate.name)
    })
}

/// The candidates that fit the wishes.
fn meant<'a>(candidates: &'a [Candidate], wishes: Wishes<'_>) -> Result<Vec<&'a Candidate>> {
    let fits = |candidate: &&Candidate| wishes.fit(candidate);
    if let Some(name) = wishes.server {
        let named = candidates.iter().find(|candidate| candidate.name == name);
        let named = named
            .ok_or_else(|| FieldError::new("server", "unknown_server", "there is no such server that takes tenants"))?;
        return Ok(Some(named).filter(fits).into_iter().collect());
    }
    let meant: Vec<_> = candidates.iter().filter(fits).collect();
    if !meant.is_empty() {
        return Ok(meant);
    }
    let in_region = |candidate: &Candidate| Wishes { labels: &NO_LABELS, ..wishes }.fit(candidate);
    if wishes.region.is_some() && !candidates.iter().any(in_region) {
        let message = "no server that takes tenants is in this region";
        return Err(FieldError::new("region", "unknown_region", message).into());
    }
    if !wishes.labels.is_empty() {
        let message = "no server that takes tenants has these labels, in the region if one is wished for";
        return Err(FieldError::new("server_labels", "unknown_labels", message).into());
    }
    Ok(meant)
}

fn refusal(wishes: Wishes<'_>, meant: usize, open: usize) -> Error {
    let reason = match (wishes.server, meant, open) {
        (Some(_), 0, _) => "the server is in another region, or has other labels",
        (Some(_), _, 0) => "the server is cordoned",
        (Some(_), ..) => "the server is full",
        (None, 0, _) => "no server takes tenants; register one first",
        (None, _, 0) if !wishes.labels.is_empty() => "every server with these labels is cordoned",
        (None, _, 0) if wishes.region.is_some() => "every server of the region is cordoned",
        (None, _, 0) => "every server is cordoned",
        (None, all, open) if all > open => "every server that is not cordoned is full",
        (None, ..) if !wishes.labels.is_empty() => "every server with these labels is full",
        (None, ..) if wishes.region.is_some() => "every server of the region is full",
        (None, ..) => "every server is full",
    };
    unavailable(reason)
}

fn unavailable(reason: &str) -> Error {
    Error::conflict("no_server_available", reason)
}

impl Candidate {
    fn has_room(&self) -> bool {
        self.capacity.is_none_or(|capacity| self.tenants < capacity)
    }

    /// How full it is, in whole percents: servers with the same percentage count as equally full.
    fn percent_full(&self, nominal: i64) -> i64 {
        i64::from(self.tenants) * 100 / self.capacity.map_or(nominal, i64::from).max(1)
    }
}

/// Places `arrivals` tenants one after another. Returns how many each server would take, by its name, and for how many
/// no server has room.
pub(in crate::operations) fn spread(mut candidates: Vec<Candidate>, arrivals: i64) -> (Vec<(String, i64)>, i64) {
    let mut taken = vec![0; candidates.len()];
    for _ in 0..arrivals {
        let Ok(name) = choose(&candidates, Wishes::ANYWHERE).map(|chosen| chosen.name.clone()) else { break };
        if let Some(at) = candidates.iter().position(|candidate| candidate.name == name) {
            taken[at] += 1;
            candidates[at].tenants += 1;
        }
    }
    let left = arrivals - taken.iter().sum::<i64>();
    let taken = candidates.into_iter().map(|candidate| candidate.name).zip(taken);
    (taken.filter(|(_, count)| *count > 0).collect(), left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, Random};

    fn candidate(name: &str, capacity: Option<i32>, tenants: i32) -> Candidate {
        Candidate {
            id: ServerId::generate(&Clock::default(), Random),
            name: name.to_owned(),
            region: None,
            labels: serde_json::json!({}),
            cordoned: false,
            capacity,
            tenants,
            ready: 0,
        }
    }

    fn chosen(candidates: &[Candidate], wishes: Wishes<'_>) -> Result<String, String> {
        choose(candidates, wishes).map(|chosen| chosen.name.clone()).map_err(|error| match error {
            Error::Validation(errors) => errors[0].code.to_string(),
            other => other.to_string(),
        })
    }

    const ANY: Wishes<'static> = Wishes::ANYWHERE;

    #[test]
    fn a_copy_stays_in_the_region_of_what_it_is_a_copy_of() {
        let at = |name: &str, region: &str, cordoned: bool| Candidate {
            region: Some(region.to_owned()),
            cordoned,
            ..candidate(name, None, 0)
        };
        let all = [at("eu-1", "eu", false), at("eu-2", "eu", false), at("us-1", "us", false)];
        assert_eq!(choose_beside(&all, "eu-2", Some("eu")).unwrap(), all[1].id);
        let drained = [at("eu-1", "eu", true), at("eu-2", "eu", false), at("us-1", "us", false)];
        assert_eq!(choose_beside(&drained, "eu-1", Some("eu")).unwrap(), drained[1].id);
        let full = [at("eu-1", "eu", true), at("us-1", "us", false)];
        let refusal = choose_beside(&full, "eu-1", Some("eu")).unwrap_err();
        assert_eq!(refusal.summary(), "no_server_available: every server of the region is cordoned");
        let none = [candidate("a", None, 1), candidate("b", None, 0), at("us-1", "us", false)];
        assert_eq!(choose_beside(&none, "gone", None).unwrap(), none[1].id, "none chosen is none to leave for another");
        assert!(choose_beside(&none[2..], "gone", None).is_err());
    }

    #[test]
    fn the_least_full_is_chosen_relative_to_what_it_takes() {
        let small = candidate("small", Some(10), 5);
        let large = candidate("large", Some(100), 30);
        assert_eq!(chosen(&[small.clone(), large], ANY).unwrap(), "large");
        let endless = candidate("endless", None, 400);
        assert_eq!(chosen(&[small.clone(), endless.clone()], ANY).unwrap(), "endless");
        assert_eq!(chosen(&[small, Candidate { tenants: 700, ..endless }], ANY).unwrap(), "small");
        assert_eq!(chosen(&[candidate("a", None, 7), candidate("b", None, 6)], ANY).unwrap(), "b");
    }

    #[test]
    fn a_warm_database_decides_among_equals_only() {
        let warm = Candidate { ready: 3, ..candidate("warm", None, 9) };
        assert_eq!(chosen(&[candidate("cold", None, 0), warm.clone()], ANY).unwrap(), "warm");
        let busy = Candidate { tenants: 500, ..warm };
        assert_eq!(chosen(&[candidate("cold", None, 0), busy], ANY).unwrap(), "cold");
    }

    #[test]
    fn a_refusal_says_why() {
        let (region, full) = (Some("eu".to_owned()), candidate("full", Some(3), 3));
        let full = Candidate { region, ..full };
        let cordoned = Candidate { cordoned: true, name: "closed".to_owned(), capacity: None, ..full.clone() };
        let wish = |server, region| Wishes { server, region, ..ANY };
        for (candidates, wishes, expected) in [
            (vec![], ANY, "no server takes tenants; register one first"),
            (vec![full.clone()], ANY, "every server is full"),
            (vec![cordoned.clone()], ANY, "every server is cordoned"),
            (vec![full.clone(), cordoned.clone()], ANY, "every server that is not cordoned is full"),
            (vec![full.clone()], wish(None, Some("eu")), "every server of the region is full"),
            (vec![cordoned.clone()], wish(None, Some("eu")), "every server of the region is cordoned"),
            (vec![full.clone()], wish(None, Some("us")), "unknown_region"),
            (vec![full.clone()], wish(Some("other"), None), "unknown_server"),
            (vec![full.clone()], wish(Some("full"), None), "the server is full"),
            (vec![cordoned], wish(Some("closed"), None), "the server is cordoned"),
            (vec![full], wish(Some("full"), Some("us")), "the server is in another region, or has other labels"),
        ] {
            assert_eq!(chosen(&candidates, wishes).unwrap_err(), expected);
        }
    }

    #[test]
    fn labels_that_are_wished_for_are_all_there() {
        let labelled = |name, labels| Candidate { labels, ..candidate(name, Some(1), 0) };
        let servers = [
            labelled("plain", serde_json::json!({})),
            labelled("gold", serde_json::json!({ "tier": "gold", "disk": "ssd" })),
            Candidate { tenants: 1, ..labelled("full", serde_json::json!({ "tier": "iron" })) },
        ];
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<_, _> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        for (wished, expected) in [
            (labels(&[("tier", "gold")]), Ok("gold")),
            (labels(&[("tier", "gold"), ("disk", "ssd")]), Ok("gold")),
            (labels(&[("tier", "gold"), ("disk", "tape")]), Err("unknown_labels")),
            (labels(&[("tier", "iron")]), Err("every server with these labels is full")),
        ] {
            let wishes = Wishes { labels: &wished, ..ANY };
            assert_eq!(chosen(&servers, wishes).as_deref().map_err(String::as_str), expected, "{wished:?}");
        }
    }

    #[test]
    fn those_who_leave_are_spread_as_they_would_be_placed() {
        let servers = vec![candidate("a", Some(10), 8), candidate("b", Some(20), 10)];
        assert_eq!(spread(servers.clone(), 5), (vec![("b".to_owned(), 5)], 0));
        assert_eq!(spread(servers, 20), (vec![("a".to_owned(), 2), ("b".to_owned(), 10)], 8));
    }
}
