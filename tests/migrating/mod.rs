//! How one tenant's database is migrated: what files may do, what becomes of those that may not, and what others notice.

mod files;
mod locks;
mod markers;
mod rehearsal;
mod subject;
mod undo;
