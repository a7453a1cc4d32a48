//! Whether the owner of a tenant's database can read all of it, which a dump has to. Row-level security hides nothing from
//! a table's owner unless it is forced on the owner too: on a partitioned table it hides nothing from a dump, which reads
//! the partitions, where their own policies hold. Rights on an owner's own table can be revoked.

use tokio_postgres::Client;

use crate::error::Result;

/// What `$1` cannot read, by kind and name, and why.
const UNREADABLE: &str = "
    SELECT told FROM (
        SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END || ' ' || format('%I.%I', n.nspname, c.relname)
                   || CASE WHEN c.relkind = 'r' AND c.relrowsecurity AND c.relforcerowsecurity
                             THEN ' (FORCE ROW LEVEL SECURITY)'
                           WHEN NOT has_schema_privilege($1, n.oid, 'USAGE')
                             OR NOT has_table_privilege($1, c.oid, 'SELECT') THEN ' (no right to read it)' END AS told
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname <> 'information_schema'
           AND NOT starts_with(n.nspname::text, 'pg_')
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                                     AND d.deptype = 'e')) relations
     WHERE told IS NOT NULL ORDER BY 1";

/// The tables and sequences that the role `owner` cannot read, each with the reason.
pub async fn unreadable(session: &Client, owner: &str) -> Result<Vec<String>> {
    let rows = session.query(UNREADABLE, &[&owner]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}
