-- What a tenant's database may not hold, or what nobody would hand over: neither is part of a schema's description.
-- Whatever was not made by initdb has a number of 16384 or more.
WITH objects (classid, objid) AS (
    SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
    UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication
    UNION ALL SELECT 'pg_subscription'::regclass, s.oid
                FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database()
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
    UNION ALL SELECT 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata
    UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language WHERE oid >= 16384
    UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast WHERE oid >= 16384
    UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform WHERE oid >= 16384
    UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am WHERE oid >= 16384
    UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass WHERE oid >= 16384
    UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily WHERE oid >= 16384
    -- Those of the operating system have such numbers too, and are PostgreSQL's.
    UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
               WHERE oid >= 16384 AND collnamespace <> 'pg_catalog'::regnamespace
    UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion WHERE oid >= 16384
    UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config WHERE oid >= 16384
    UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict WHERE oid >= 16384
    UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser WHERE oid >= 16384
    UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template WHERE oid >= 16384
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type
               WHERE oid >= 16384 AND typtype = 'b' AND typcategory <> 'A'
                 AND typnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')
), history AS (
    SELECT c.* FROM pg_class c WHERE c.oid = to_regclass('public.refinery_schema_history')
)
SELECT 'object' AS about, coalesce(pg_describe_object(classid, objid, 0), 'an object') AS detail
  FROM objects o
 WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'e')
UNION ALL
-- A trusted extension's own are the bootstrap superuser's, which has no row in pg_shdepend. What somebody has put into one
-- is looked at nowhere else.
SELECT 'object', format('%s, which somebody has added to an extension', pg_describe_object(e.classid, e.objid, 0))
  FROM pg_depend e JOIN pg_shdepend o
       ON o.classid = e.classid AND o.objid = e.objid AND o.deptype = 'o'
          AND o.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
 WHERE e.deptype = 'e'
UNION ALL
SELECT 'object', format('default privileges of %s; take them away with ALTER DEFAULT PRIVILEGES FOR ROLE %1$I',
                                 pg_get_userbyid(defaclrole))
  FROM pg_default_acl GROUP BY defaclrole
UNION ALL
SELECT 'extension', format('the extension %s, which only a superuser can make', extname)
  FROM pg_extension e
 WHERE extname <> 'plpgsql'
   AND NOT coalesce((SELECT v.trusted FROM pg_available_extension_versions v
                      WHERE v.name = e.extname AND v.version = e.extversion), false)
UNION ALL
SELECT 'schema', 'a schema "freehold" is there already' FROM pg_namespace WHERE nspname = 'freehold'
UNION ALL
SELECT 'history', 'public.refinery_schema_history is no plain table: it has triggers, rules or policies'
  FROM history
 WHERE relkind <> 'r' OR relrowsecurity OR relhasrules
    OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = history.oid)
    OR EXISTS (SELECT FROM pg_inherits i WHERE history.oid IN (i.inhparent, i.inhrelid))
    OR EXISTS (SELECT FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
                WHERE a.attrelid = history.oid AND a.attnum > 0 AND NOT a.attisdropped
                  AND y.typnamespace <> 'pg_catalog'::regnamespace)
ORDER BY 1, 2
