-- What a file has done to its transaction, and beyond the schema. One row.
--
-- A write to a catalogue that all databases of the server share shows as a lock, which PostgreSQL keeps until the
-- transaction ends. Every object that is made writes to pg_shdepend. A change of rights on a database keeps no lock:
-- the row's version is told by its transaction, which only this one can still be at work on.
SELECT pg_current_xact_id_if_assigned()::text AS transaction,
       concat_ws(', ',
           (SELECT string_agg(DISTINCT c.relname::text, ', ')
              FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
             WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.database = 0 AND l.mode <> 'AccessShareLock'
               AND c.relkind = 'r' AND c.relisshared AND c.relname NOT IN ('pg_shdepend', 'pg_database')),
           (SELECT string_agg('pg_database', '') FROM (
                SELECT FROM pg_database
                 WHERE CASE WHEN age(xmin) <= 0
                            THEN pg_xact_status((pg_current_xact_id()::text::int8 - age(xmin))::text::xid8)
                       END = 'in progress' LIMIT 1) changed)) AS shared,
       (SELECT count(*)::text FROM pg_shdepend
         WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND refclassid = 'pg_authid'::regclass AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = session_user)) AS foreigners,
       -- What a statement has counted of its rows stays until the transaction ends.
       (SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname) FROM pg_class c
         WHERE c.relnamespace = to_regnamespace('freehold') AND c.relkind = 'r'
           AND pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid)
               + pg_stat_get_xact_tuples_deleted(c.oid) > 0) AS written
