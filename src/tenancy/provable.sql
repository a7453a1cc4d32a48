-- Which names keep a statement that holds them from being proven to leave nothing on its session; `*` stands for all
-- names. $1 are the names that the statements hold. What initdb has made has an oid below 16384 (FirstNormalObjectId);
-- what an extension has made is a file of the server's own, which nobody can bring with a migration. Of extensions these
-- are known to run no text as a statement; others, such as tablefunc, may, and count as written for this database.
WITH held AS (SELECT pg_catalog.unnest($1::text[])::name AS name),
made_by_extension AS (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND e.oid = d.refobjid
    WHERE d.deptype = 'e' AND e.extname IN ('btree_gin', 'btree_gist', 'citext', 'cube', 'fuzzystrmatch', 'hstore',
        'intarray', 'isn', 'ltree', 'pg_trgm', 'pgcrypto', 'seg', 'unaccent', 'uuid-ossp', 'vector'))

-- Functions, also where they are called like a column or like a cast. Only what is declared volatile may leave
-- something, among those that were not written for this database; some that are not run what a text or a table says.
SELECT f.proname::text AS name
FROM pg_catalog.pg_proc f JOIN held ON held.name = f.proname JOIN pg_catalog.pg_language l ON l.oid = f.prolang
WHERE f.provolatile = 'v' OR f.proname LIKE '%\_to\_xml%' OR f.proname LIKE 'pg\_input\_%'
   OR f.oid >= 16384 AND (l.lanname NOT IN ('c', 'internal') OR NOT EXISTS (SELECT FROM made_by_extension
       WHERE classid = 'pg_catalog.pg_proc'::regclass AND objid = f.oid))

UNION ALL
-- Relations that are more than rows of plain types on a heap: views, foreign tables, those with rules, policies or heirs.
SELECT r.relname::text
FROM pg_catalog.pg_class r JOIN held ON held.name = r.relname
WHERE r.relkind NOT IN ('i', 'I', 't') AND (r.relkind <> 'r' OR r.relam <> 2 OR r.relhassubclass OR r.relrowsecurity OR r.relhasrules
   OR EXISTS (
       SELECT FROM pg_catalog.pg_attribute a
       JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
       JOIN pg_catalog.pg_type e ON e.oid = CASE t.typcategory WHEN 'A' THEN t.typelem ELSE t.oid END
       WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
         AND (a.attgenerated NOT IN ('', 's') OR e.oid >= 16384 AND e.typtype <> 'e' AND NOT EXISTS (
             SELECT FROM made_by_extension WHERE classid = 'pg_catalog.pg_type'::regclass AND objid = e.oid)))
   -- The planner looks at indexes, constraints and statistics, and works out what it can of their expressions.
   OR EXISTS (
       SELECT FROM (
           SELECT 'pg_catalog.pg_class'::regclass AS classid, i.indexrelid AS objid
           FROM pg_catalog.pg_index i WHERE i.indrelid = r.oid
           UNION ALL
           SELECT 'pg_catalog.pg_constraint'::regclass, c.oid FROM pg_catalog.pg_constraint c WHERE c.conrelid = r.oid
           UNION ALL
           SELECT 'pg_catalog.pg_statistic_ext'::regclass, s.oid FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = r.oid
       ) attached JOIN pg_catalog.pg_depend d USING (classid, objid)
       WHERE d.refobjid >= 16384
         AND d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass,
             'pg_catalog.pg_opclass'::regclass, 'pg_catalog.pg_opfamily'::regclass, 'pg_catalog.pg_type'::regclass)
         AND NOT EXISTS (SELECT FROM made_by_extension m WHERE m.classid = d.refclassid AND m.objid = d.refobjid)))

UNION ALL
-- Types: a domain has its checks done when something is cast to it, a type of several columns may hold one.
SELECT t.typname::text
FROM pg_catalog.pg_type t JOIN held ON held.name = t.typname LEFT JOIN pg_catalog.pg_class r ON r.oid = t.typrelid
WHERE t.oid >= 16384 AND t.typtype <> 'e' AND r.relkind IS DISTINCT FROM 'r' AND NOT EXISTS (
    SELECT FROM made_by_extension WHERE classid = 'pg_catalog.pg_type'::regclass AND objid = t.oid)

UNION ALL
-- Operators, casts and operator classes have no names to look for: one that was written for this database taints all.
SELECT '*' WHERE EXISTS (
    SELECT FROM pg_catalog.pg_operator o LEFT JOIN pg_catalog.pg_proc f ON f.oid = o.oprcode
    WHERE o.oid >= 16384 AND (f.provolatile IS DISTINCT FROM 'i' AND f.provolatile IS DISTINCT FROM 's' OR NOT EXISTS (
        SELECT FROM made_by_extension WHERE classid = 'pg_catalog.pg_operator'::regclass AND objid = o.oid)))
UNION ALL
SELECT '*' WHERE EXISTS (
    SELECT FROM pg_catalog.pg_cast c LEFT JOIN pg_catalog.pg_proc f ON f.oid = c.castfunc
    WHERE c.oid >= 16384 AND (f.provolatile = 'v' OR NOT EXISTS (
        SELECT FROM made_by_extension WHERE classid = 'pg_catalog.pg_cast'::regclass AND objid = c.oid)))
UNION ALL
SELECT '*' WHERE EXISTS (
    SELECT FROM pg_catalog.pg_opclass c
    WHERE c.oid >= 16384 AND NOT EXISTS (
        SELECT FROM made_by_extension WHERE classid = 'pg_catalog.pg_opclass'::regclass AND objid = c.oid))
