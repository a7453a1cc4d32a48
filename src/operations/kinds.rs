//! The table of all kinds of operations.

use super::{
    engine::Kinds,
    fleet::{remains, warm},
    tenants::{adopt, archive, clone, erase, migration_rehearsal, provision, restore, rotate_credentials},
};

/// The kinds that are handed to the engine.
pub static ALL: Kinds = Kinds::new(&[
    &provision::KIND,
    &clone::KIND,
    &adopt::KIND,
    &archive::KIND,
    &restore::KIND,
    &rotate_credentials::KIND,
    &erase::KIND,
    &migration_rehearsal::KIND,
    &warm::MAKE,
    &warm::RETIRE,
    &remains::KIND,
]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::engine::kind::Undo;

    #[test]
    fn what_can_never_be_undone_comes_last() {
        for kind in ALL.iter() {
            let turning = kind.steps.iter().position(|step| matches!(step.undo, Undo::Never));
            let after = turning.map_or(&[][..], |at| &kind.steps[at..]);
            assert!(after.iter().all(|step| !matches!(step.undo, Undo::By(..))), "{}", kind.name);
        }
    }

    /// The control database stores the names, and replicas of two releases read them. A step may be added. No step may
    /// change its meaning. A step that is removed must be listed in `formerly`.
    #[test]
    fn stored_names_are_known() {
        let stored = "\
tenant.provision: record build_template create_role create_database restrict_database open_database grant_access \
    create_first_admin activate
tenant.clone: record create_role copy_database restrict_database activate
tenant.adopt: record take_database hand_over create_role take_in grant_access create_first_admin activate
tenant.archive: record shut_out dump check rehearse drop_database drop_role prune
tenant.restore: record create_role restore_database migrate_database restrict_database activate
tenant.rotate_credentials: record alter_role promote
tenant.erase: record take_stock deny_login drop_database drop_role purge_archives purge_cache bury
tenant.rehearse: record run_files drop_copy
warm.make: record build_template create_role create_database restrict_database open_database grant_access check_login \
    mark_ready
warm.retire: record deny_login drop_database drop_role forget
remains.clear: record drop_database drop_role forget";
        for line in stored.lines() {
            let (kind, steps) = line.split_once(": ").unwrap();
            let kind = ALL.find(kind).unwrap();
            for step in steps.split_whitespace() {
                assert!(kind.step(step).is_ok(), "{}: {step}", kind.name);
            }
        }
        assert_eq!(stored.lines().count(), ALL.iter().count(), "a new kind is stored too");
    }

    #[test]
    fn names_are_told_apart() {
        let steps = ALL.iter().flat_map(|kind| kind.steps.iter().map(|step| format!("{}.{}", kind.name, step.name)));
        let mut names: Vec<_> = steps.collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
