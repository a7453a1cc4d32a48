-- Every object of a database's schema and what it is, in texts that are the same on every server of one major
-- version. What an extension brought is the extension's; NOT NULL is told by the column, since from PostgreSQL 18 on
-- it is a constraint too, under a name that PostgreSQL chooses.
WITH spaces AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), relations AS (
    SELECT c.* FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
    WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')
), described AS (
    SELECT 'schema ' || nspname AS object,
           concat_ws(' ', pg_get_userbyid(nspowner),
                     (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(nspacl) a)) AS definition
      FROM spaces
    UNION ALL
    SELECT 'relation ' || oid::regclass,
           concat_ws(' ', relkind, relpersistence, pg_get_userbyid(relowner), relrowsecurity, relforcerowsecurity,
                     array_to_string(reloptions, ','), CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END,
                     (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(relacl) a))
      FROM relations WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 'column ' || r.oid::regclass || '.' || quote_ident(a.attname),
           concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                     (SELECT quote_ident(collname) FROM pg_collation WHERE oid = a.attcollation),
                     pg_get_expr(d.adbin, d.adrelid),
                     (SELECT string_agg(p::text, ',' ORDER BY p::text) FROM unnest(a.attacl) p))
      FROM relations r
      JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
     WHERE r.relkind IN ('r', 'p', 'f')
    UNION ALL
    SELECT 'constraint ' || r.oid::regclass || '.' || quote_ident(c.conname), pg_get_constraintdef(c.oid)
      FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid WHERE c.contype <> 'n'
    UNION ALL
    SELECT 'index ' || r.oid::regclass, concat_ws(' ', pg_get_indexdef(r.oid), i.indisvalid)
      FROM relations r JOIN pg_index i ON i.indexrelid = r.oid
    UNION ALL
    SELECT 'sequence ' || r.oid::regclass,
           concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle)
      FROM relations r JOIN pg_sequence s ON s.seqrelid = r.oid
    UNION ALL
    SELECT 'trigger ' || r.oid::regclass || '.' || quote_ident(t.tgname),
           concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid))
      FROM relations r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'policy ' || r.oid::regclass || '.' || quote_ident(p.polname),
           concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                     pg_get_expr(p.polwithcheck, p.polrelid))
      FROM relations r JOIN pg_policy p ON p.polrelid = r.oid
    UNION ALL
    SELECT 'function ' || p.oid::regprocedure,
           concat_ws(' ', pg_get_userbyid(p.proowner),
                     CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) ELSE p.prokind::text END,
                     (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(p.proacl) a))
      FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
     WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e')
    UNION ALL
    SELECT 'type ' || t.oid::regtype,
           concat_ws(' ', t.typtype, pg_get_userbyid(t.typowner),
                     (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder)
                        FROM pg_enum e WHERE e.enumtypid = t.oid),
                     CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
                     (SELECT string_agg(pg_get_constraintdef(c.oid), ',' ORDER BY c.conname)
                        FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype <> 'n'))
      FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace
     WHERE t.typtype IN ('e', 'd', 'r')
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.classid = 'pg_type'::regclass AND d.deptype = 'e')
    UNION ALL
    SELECT 'default privileges ' || concat_ws(' ', pg_get_userbyid(defaclrole), defaclobjtype),
           (SELECT string_agg(a::text, ',' ORDER BY a::text) FROM unnest(defaclacl) a)
      FROM pg_default_acl
    UNION ALL
    SELECT 'extension ' || quote_ident(extname), '' FROM pg_extension WHERE extname <> 'plpgsql'
)
SELECT object, coalesce(definition, '') AS definition FROM described ORDER BY object COLLATE "C"
