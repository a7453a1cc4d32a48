//! Decides what the reconciler does next on one server. A pure function of what the reconciler has read.

use std::time::Duration;

use crate::{
    control::warm_databases::{Demand, Made, WarmDatabase, WarmState},
    types::TenantId,
};

/// How long a surplus database is kept. This is also how long a new tenant counts as demand.
const SURPLUS: Duration = Duration::from_mins(10);
/// The pause after a failed `warm.make`. It doubles with each further failure, up to [`LONGEST_PAUSE`].
const FAILURE_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// The longest pause after a successful `warm.make`. One that went through an outage took very long, and the pause must
/// not.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// With this many blocked `warm.make` and `warm.retire` operations on a server, no more are begun there.
const MOST_STUCK: usize = 3;

/// How many databases are kept ready on a server that follows demand.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The least, when there is no demand.
    pub min: u32,
    /// The most, however high demand is.
    pub max: u32,
}

/// One server, with its warm databases and the results of its last `warm.make` operations, the newest first.
#[derive(Debug)]
pub(super) struct Stock<'a> {
    pub(super) demand: &'a Demand,
    pub(super) databases: Vec<&'a WarmDatabase>,
    pub(super) last_made: Vec<&'a Made>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Make one more.
    Make,
    /// Retire this one.
    Retire(TenantId),
    /// Do nothing for now.
    Rest,
}

impl Stock<'_> {
    /// Decides on at most one thing at a time, so that the tenants of the server do not notice the load.
    pub(super) fn plan(&self, template: &str, bounds: Bounds) -> Plan {
        if self.under_way(WarmState::Making) || self.databases.iter().filter(|one| one.is_stuck).count() >= MOST_STUCK {
            return Plan::Rest;
        }
        let ready = self.databases.iter().copied().filter(|one| one.state == WarmState::Ready);
        let (current, outdated): (Vec<&WarmDatabase>, Vec<_>) = ready.partition(|one| one.template == template);
        let target = self.target(bounds);
        let lacks = current.len() < target && self.databases.len() < self.room();
        if lacks && self.may_make() {
            return Plan::Make;
        }
        if self.under_way(WarmState::Retiring) || (lacks && !self.is_failing()) {
            return Plan::Rest;
        }
        if let Some(old) = outdated.first() {
            return Plan::Retire(old.id);
        }
        let is_stale = |one: &WarmDatabase| one.ready_for.is_some_and(|time| time > SURPLUS);
        match current.first() {
            // A target that an operator has set applies at once.
            Some(old) if current.len() > target && (!self.follows_demand() || is_stale(old)) => Plan::Retire(old.id),
            _ => Plan::Rest,
        }
    }

    /// Whether an operation is under way on a database in this state. A stuck operation does not count.
    fn under_way(&self, state: WarmState) -> bool {
        self.databases.iter().any(|one| one.state == state && !one.is_stuck)
    }

    fn follows_demand(&self) -> bool {
        self.demand.target.is_none() && !self.demand.cordoned && self.databases.len() <= self.room()
    }

    /// How many databases to keep ready: the number of recent new tenants, or the target that an operator has set.
    fn target(&self, bounds: Bounds) -> usize {
        if self.demand.cordoned {
            return 0;
        }
        let recent = u32::try_from(self.demand.recent).unwrap_or(u32::MAX);
        let by_demand = recent.max(bounds.min).min(bounds.max);
        let target = self.demand.target.map_or(by_demand, |target| u32::try_from(target).unwrap_or_default());
        self.room().min(usize::try_from(target).unwrap_or(usize::MAX))
    }

    /// How many more tenants the server has room for.
    fn room(&self) -> usize {
        let left = |capacity: i32| usize::try_from(capacity.saturating_sub(self.demand.tenants)).unwrap_or_default();
        self.demand.capacity.map_or(usize::MAX, left)
    }

    fn failures(&self) -> u32 {
        let failures = self.last_made.iter().take_while(|made| !made.succeeded).count();
        u32::try_from(failures).unwrap_or(u32::MAX)
    }

    fn is_failing(&self) -> bool {
        self.failures() > 0
    }

    /// Whether another database may be made now. The pause is as long as the last one took, so that at least half of
    /// the time is left to tenants. After failures the pauses grow.
    fn may_make(&self) -> bool {
        let Some(last) = self.last_made.first() else { return true };
        let pause = match self.failures() {
            0 => last.took.min(LONGEST_REST),
            failures => (FAILURE_PAUSE * (1 << (failures - 1).min(8))).min(LONGEST_PAUSE),
        };
        last.ago >= pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Clock, Random, ServerId};

    const BOUNDS: Bounds = Bounds { min: 2, max: 20 };

    fn demand() -> Demand {
        let server_id = ServerId::generate(&Clock::default(), Random);
        Demand { server_id, cordoned: false, capacity: None, tenants: 0, target: None, recent: 0 }
    }

    fn warm(state: WarmState, template: &str, ready_secs: u64) -> WarmDatabase {
        let (id, server_id) = (TenantId::generate(&Clock::default(), Random), demand().server_id);
        let ready_for = (state != WarmState::Making).then_some(Duration::from_secs(ready_secs));
        WarmDatabase { id, server_id, state, template: template.to_owned(), ready_for, is_stuck: false }
    }

    fn made(succeeded: bool, ago: u64) -> Made {
        let server_id = demand().server_id;
        Made { server_id, succeeded, took: Duration::from_secs(2), ago: Duration::from_secs(ago) }
    }

    fn plan(demand: &Demand, databases: &[WarmDatabase], last_made: &[Made]) -> Plan {
        Stock { demand, databases: databases.iter().collect(), last_made: last_made.iter().collect() }
            .plan("new", BOUNDS)
    }

    fn ready(count: usize, template: &str, secs: u64) -> Vec<WarmDatabase> {
        (0..count).map(|_| warm(WarmState::Ready, template, secs)).collect()
    }

    #[test]
    fn as_many_are_kept_as_demand_or_an_operator_asks_for() {
        for (target, recent, count, expected) in [
            (None, 0, 1, Plan::Make),
            (None, 0, 2, Plan::Rest),
            (None, 7, 6, Plan::Make),
            (None, 7, 7, Plan::Rest),
            (None, 500, 19, Plan::Make),
            (None, 500, 20, Plan::Rest),
            (Some(0), 500, 0, Plan::Rest),
            (Some(30), 0, 29, Plan::Make),
        ] {
            let demand = Demand { target, recent, ..demand() };
            assert_eq!(plan(&demand, &ready(count, "new", 1), &[]), expected, "{target:?} {recent} {count}");
        }
    }

    #[test]
    fn a_server_that_takes_no_tenants_gets_no_databases() {
        let kept = ready(1, "new", 1);
        let full = Demand { capacity: Some(5), tenants: 4, ..demand() };
        assert_eq!(plan(&full, &kept, &[]), Plan::Rest, "one more tenant fits, and its database is there");
        let overfull = Demand { tenants: 5, ..full };
        assert_eq!(plan(&overfull, &kept, &[]), Plan::Retire(kept[0].id));
        let cordoned = Demand { cordoned: true, ..demand() };
        assert_eq!(plan(&cordoned, &[], &[]), Plan::Rest);
        assert_eq!(plan(&cordoned, &kept, &[]), Plan::Retire(kept[0].id));
    }

    #[test]
    fn new_ones_are_made_before_old_ones_go() {
        let mut stock = ready(2, "old", 1);
        assert_eq!(plan(&demand(), &stock, &[]), Plan::Make);
        stock.push(warm(WarmState::Making, "new", 0));
        assert_eq!(plan(&demand(), &stock, &[]), Plan::Rest);
        stock.pop();
        stock.extend(ready(2, "new", 1));
        assert_eq!(plan(&demand(), &stock, &[]), Plan::Retire(stock[0].id));
        stock[0].state = WarmState::Retiring;
        assert_eq!(plan(&demand(), &stock, &[]), Plan::Rest, "one after another");
        stock[0].is_stuck = true;
        assert_eq!(plan(&demand(), &stock, &[]), Plan::Retire(stock[1].id), "a stuck one holds up nothing");
        let full = Demand { capacity: Some(2), ..demand() };
        let old = ready(2, "old", 1);
        assert_eq!(plan(&full, &old, &[]), Plan::Retire(old[0].id), "no room to make new ones first");
    }

    #[test]
    fn a_surplus_is_kept_for_a_while_unless_an_operator_wants_it_gone() {
        let (fresh, stale) = (ready(3, "new", 60), ready(3, "new", 700));
        assert_eq!(plan(&demand(), &fresh, &[]), Plan::Rest);
        assert_eq!(plan(&demand(), &stale, &[]), Plan::Retire(stale[0].id));
        assert_eq!(plan(&Demand { target: Some(2), ..demand() }, &fresh, &[]), Plan::Retire(fresh[0].id));
    }

    #[test]
    fn a_making_that_is_stuck_holds_up_nothing_and_many_of_them_are_not_added_to() {
        let stuck = |count| (0..count).map(|_| WarmDatabase { is_stuck: true, ..warm(WarmState::Making, "new", 0) });
        assert_eq!(plan(&demand(), &stuck(MOST_STUCK - 1).collect::<Vec<_>>(), &[]), Plan::Make);
        assert_eq!(plan(&demand(), &stuck(MOST_STUCK).collect::<Vec<_>>(), &[]), Plan::Rest);
    }

    #[test]
    fn a_making_that_an_outage_drew_out_does_not_draw_out_the_next() {
        let drawn_out = |ago| Made { took: Duration::from_hours(3), ..made(true, ago) };
        assert_eq!(plan(&demand(), &[], &[drawn_out(4)]), Plan::Rest);
        assert_eq!(plan(&demand(), &[], &[drawn_out(5)]), Plan::Make);
    }

    #[test]
    fn makings_pause_after_each_other_and_longer_after_failures() {
        for (history, expected) in [
            (vec![made(true, 1)], Plan::Rest),
            (vec![made(true, 2)], Plan::Make),
            (vec![made(false, 9)], Plan::Rest),
            (vec![made(false, 10)], Plan::Make),
            (vec![made(false, 39), made(false, 60), made(false, 90), made(true, 95)], Plan::Rest),
            (vec![made(false, 40), made(false, 60), made(false, 90), made(true, 95)], Plan::Make),
            (vec![made(false, 599); 8], Plan::Rest),
            (vec![made(false, 600); 8], Plan::Make),
        ] {
            assert_eq!(plan(&demand(), &[], &history), expected, "{history:?}");
        }
        let old = ready(1, "old", 1);
        assert_eq!(plan(&demand(), &old, &[made(false, 1)]), Plan::Retire(old[0].id), "nothing replaces it anyway");
    }
}
