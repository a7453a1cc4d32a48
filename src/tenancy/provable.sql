-- Which names keep a statement that holds them from being proven to leave nothing on its session; `*` stands for all
-- names. $1 are the names that the statements hold, of 63 bytes at most. What initdb has made has an oid below 16384
-- (FirstNormalObjectId). Base types, operator classes and functions in C or of the server itself are made by superusers alone, which the maker
-- of a migration is not: an extension has brought them. What an extension is said to own is no proof: the maker of a
-- migration can say it too (ALTER EXTENSION … ADD).
WITH held AS (SELECT pg_catalog.unnest($1::text[])::name AS name),
-- Functions of extensions that are known to leave nothing and to run no text as a statement, as tablefunc does.
brought AS (
    SELECT d.objid AS oid FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND e.oid = d.refobjid
    JOIN pg_catalog.pg_proc f ON f.oid = d.objid
    JOIN pg_catalog.pg_language l ON l.oid = f.prolang AND l.lanname IN ('c', 'internal')
    WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.deptype = 'e' AND e.extname IN ('btree_gin', 'btree_gist',
        'citext', 'cube', 'fuzzystrmatch', 'hstore', 'intarray', 'ltree', 'pg_trgm', 'pgcrypto', 'seg', 'unaccent',
        'uuid-ossp', 'vector')),
-- All other functions that initdb has not made.
written AS (
    SELECT f.oid FROM pg_catalog.pg_proc f
    -- NOT IN is hashed, whatever PostgreSQL knows about the sizes of its catalogue.
    WHERE f.oid >= 16384 AND f.oid NOT IN (SELECT oid FROM brought)),
-- What depends on one of those functions, on an operator with one, or on a type that may hold one. Read once for all
-- relations: most databases have none.
suspect AS MATERIALIZED (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
    LEFT JOIN pg_catalog.pg_operator o ON d.refclassid = 'pg_catalog.pg_operator'::regclass AND o.oid = d.refobjid
    LEFT JOIN pg_catalog.pg_type t ON d.refclassid = 'pg_catalog.pg_type'::regclass AND t.oid = d.refobjid
    WHERE d.refobjid >= 16384 AND (t.typtype NOT IN ('e', 'b') OR o.oprcode IN (SELECT oid FROM written)
        OR d.refclassid = 'pg_catalog.pg_proc'::regclass AND d.refobjid IN (SELECT oid FROM written))),
-- The relations with such an index, constraint or statistic: the planner looks at them, and works out what it can of
-- their expressions.
planned AS MATERIALIZED (
    SELECT i.indrelid AS oid FROM suspect JOIN pg_catalog.pg_index i ON i.indexrelid = suspect.objid
    WHERE suspect.classid = 'pg_catalog.pg_class'::regclass
    UNION ALL
    SELECT c.conrelid FROM suspect JOIN pg_catalog.pg_constraint c ON c.oid = suspect.objid
    WHERE suspect.classid = 'pg_catalog.pg_constraint'::regclass
    UNION ALL
    SELECT s.stxrelid FROM suspect JOIN pg_catalog.pg_statistic_ext s ON s.oid = suspect.objid
    WHERE suspect.classid = 'pg_catalog.pg_statistic_ext'::regclass)

-- Functions, also where they are called like a column or like a cast. Only what is declared volatile may leave
-- something, among those that were not written for this database; some that are not run what a text or a table says.
SELECT f.proname::text AS name
FROM pg_catalog.pg_proc f JOIN held ON held.name = f.proname
WHERE f.provolatile = 'v' OR f.proname LIKE '%\_to\_xml%' OR f.proname LIKE 'pg\_input\_%'
   OR f.oid IN (SELECT oid FROM written)

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
         AND (a.attgenerated NOT IN ('', 's') OR e.oid >= 16384 AND e.typtype NOT IN ('e', 'b')))
   OR r.oid IN (SELECT oid FROM planned))

UNION ALL
-- Types: a domain has its checks done when something is cast to it, a type of several columns may hold one.
SELECT t.typname::text
FROM pg_catalog.pg_type t JOIN held ON held.name = t.typname LEFT JOIN pg_catalog.pg_class r ON r.oid = t.typrelid
WHERE t.oid >= 16384 AND t.typtype NOT IN ('e', 'b') AND r.relkind IS DISTINCT FROM 'r'

UNION ALL
-- Operators and casts have no names to look for: one whose function was written for this database taints all.
SELECT '*' WHERE EXISTS (
    SELECT FROM pg_catalog.pg_operator o LEFT JOIN pg_catalog.pg_proc f ON f.oid = o.oprcode
    WHERE o.oid >= 16384 AND (f.oid IS NULL OR f.provolatile = 'v' OR f.proname LIKE '%\_to\_xml%'
        OR f.proname LIKE 'pg\_input\_%' OR f.oid IN (SELECT oid FROM written)))
UNION ALL
SELECT '*' WHERE EXISTS (
    SELECT FROM pg_catalog.pg_cast c LEFT JOIN pg_catalog.pg_proc f ON f.oid = c.castfunc
    WHERE c.oid >= 16384 AND (f.provolatile = 'v' OR f.proname LIKE '%\_to\_xml%' OR f.proname LIKE 'pg\_input\_%'
        OR f.oid IN (SELECT oid FROM written)))
