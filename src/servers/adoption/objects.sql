-- Objects that can be handed to another owner, and whose rights are told. $1: the number of the role that owns the
-- database. Members of extensions are the extensions'. Schemas come first: what is in one can only be handed to a role
-- that may create objects there.
WITH spaces AS (
    SELECT * FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), objects (place, altered, class, name, owner, acl, kind, classid, objid) AS (
    SELECT 1, 'SCHEMA', 'SCHEMA', quote_ident(nspname), nspowner, nspacl, 'n'::"char", 'pg_namespace'::regclass, oid
      FROM spaces
    UNION ALL
    SELECT 2, 'TYPE', 'TYPE', t.oid::regtype::text, typowner, typacl, 'T', 'pg_type'::regclass, t.oid
      FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace
     WHERE typtype IN ('e', 'd', 'r')
        OR typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND relkind = 'c')
    UNION ALL
    SELECT 3, 'ROUTINE', 'ROUTINE', p.oid::regprocedure::text, proowner, proacl, 'f', 'pg_proc'::regclass, p.oid
      FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
     -- The constructors of a range belong to PostgreSQL, and go with their type.
     WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                          AND d.refclassid = 'pg_type'::regclass AND d.deptype = 'i')
    UNION ALL
    -- A sequence of a column goes with its table.
    SELECT 4,
           CASE WHEN EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                AND d.refclassid = 'pg_class'::regclass AND c.relkind = 'S' AND d.deptype IN ('a', 'i'))
                THEN NULL ELSE 'TABLE' END,
           CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, relowner, relacl,
           CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", 'pg_class'::regclass, c.oid
      FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
     WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 5, 'STATISTICS', NULL, format('%I.%I', s.nspname, stxname), stxowner, NULL, NULL,
           'pg_statistic_ext'::regclass, e.oid
      FROM pg_statistic_ext e JOIN spaces s ON s.oid = e.stxnamespace
), kept AS (
    SELECT * FROM objects o
     WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'e')
), grants AS (
    SELECT k.place, k.class, k.name, a.grantee, a.is_grantable, a.privilege_type AS privilege, a.grantor <> k.owner AS passed_on
      FROM kept k, aclexplode(coalesce(k.acl, acldefault(k.kind, k.owner))) a
     WHERE k.class IS NOT NULL
    UNION ALL
    SELECT k.place, k.class, k.name, a.grantee, a.is_grantable, format('%s (%I)', a.privilege_type, c.attname),
           a.grantor <> k.owner
      FROM kept k JOIN pg_attribute c ON k.classid = 'pg_class'::regclass AND c.attrelid = k.objid AND c.attnum > 0,
           aclexplode(c.attacl) a
)
SELECT k.class, k.name, pg_get_userbyid(k.owner)::text AS owner,
       k.owner = $1 AS is_owners, k.owner = 'pg_database_owner'::regrole AS is_databases,
       CASE WHEN k.owner = $1 THEN 'ALTER ' || k.altered || ' ' || k.name || ' OWNER TO ' END AS alter,
       coalesce((SELECT bool_or(g.passed_on) FROM grants g WHERE g.class = k.class AND g.name = k.name), false)
           AS is_passed_on,
       ARRAY(SELECT DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END
               FROM grants g WHERE g.class = k.class AND g.name = k.name) AS grantees,
       -- Each for itself: a role may be gone when it is to have its rights again.
       ARRAY(SELECT format('DO %L', format('BEGIN EXECUTE %L; EXCEPTION WHEN undefined_object THEN NULL; END',
                    format('GRANT %s ON %s %s TO %s%s', string_agg(g.privilege, ', '), k.class, k.name,
                           CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                           CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)))
               FROM grants g WHERE g.class = k.class AND g.name = k.name
              GROUP BY g.grantee, g.is_grantable) AS grants
  FROM kept k ORDER BY k.place, k.name
