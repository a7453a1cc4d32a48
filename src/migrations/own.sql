-- All that is Freehold's in a tenant's database, and all that hangs on it: an object and its row in the catalogue, and
-- the tables whose rows count. What PostgreSQL counts for itself is left out. A foreign key of a product's table that
-- refers to a table of Freehold's is the product's; its triggers on Freehold's table are PostgreSQL's own.
--
-- The number of the file that holds a table is not left out: TRUNCATE changes it, also where there is no row.
WITH space AS MATERIALIZED (
    SELECT oid FROM pg_namespace WHERE nspname = 'freehold'
), relations AS MATERIALIZED (
    SELECT c.oid FROM pg_class c JOIN space s ON s.oid = c.relnamespace
), types AS MATERIALIZED (
    SELECT t.oid FROM pg_type t JOIN space s ON s.oid = t.typnamespace
), objects (classid, objid, objsubid, definition) AS (
    SELECT 'pg_namespace'::regclass, oid, 0, to_jsonb(n) FROM pg_namespace n WHERE oid IN (TABLE space)
    UNION ALL
    SELECT 'pg_class'::regclass, oid, 0,
           to_jsonb(c) - '{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid,relhastriggers}'::text[]
             - CASE WHEN relkind IN ('i', 'I') THEN 'relfilenode' ELSE '' END
      FROM pg_class c WHERE oid IN (TABLE relations)
    UNION ALL
    SELECT 'pg_class'::regclass, attrelid, attnum, to_jsonb(a.*) - '{attcacheoff,attmissingval}'::text[]
      FROM pg_attribute a WHERE attrelid IN (TABLE relations) AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'pg_class'::regclass, indexrelid, 0, to_jsonb(i) FROM pg_index i WHERE indexrelid IN (TABLE relations)
    UNION ALL
    SELECT 'pg_class'::regclass, seqrelid, 0, to_jsonb(s) FROM pg_sequence s WHERE seqrelid IN (TABLE relations)
    UNION ALL
    -- Whatever reads the parent reads the rows of its children.
    SELECT 'pg_class'::regclass, inhrelid, 0, to_jsonb(i)
      FROM pg_inherits i WHERE inhrelid IN (TABLE relations) OR inhparent IN (TABLE relations)
    UNION ALL
    -- A member of an extension is not dumped.
    SELECT d.classid, objid, objsubid, to_jsonb(d)
      FROM pg_depend d
     WHERE classid = 'pg_class'::regclass AND objid IN (TABLE relations) AND deptype IN ('e', 'x')
    UNION ALL
    SELECT 'pg_attrdef'::regclass, oid, 0, to_jsonb(d) FROM pg_attrdef d WHERE adrelid IN (TABLE relations)
    UNION ALL
    SELECT 'pg_constraint'::regclass, oid, 0, to_jsonb(c)
      FROM pg_constraint c
     WHERE connamespace IN (TABLE space) OR conrelid IN (TABLE relations) OR contypid IN (TABLE types)
    UNION ALL
    SELECT 'pg_trigger'::regclass, oid, 0, to_jsonb(t)
      FROM pg_trigger t WHERE tgrelid IN (TABLE relations) AND NOT tgisinternal
    UNION ALL
    SELECT 'pg_rewrite'::regclass, oid, 0, to_jsonb(r) FROM pg_rewrite r WHERE ev_class IN (TABLE relations)
    UNION ALL
    SELECT 'pg_policy'::regclass, oid, 0, to_jsonb(p) FROM pg_policy p WHERE polrelid IN (TABLE relations)
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, oid, 0, to_jsonb(s)
      FROM pg_statistic_ext s WHERE stxnamespace IN (TABLE space) OR stxrelid IN (TABLE relations)
    UNION ALL
    SELECT 'pg_publication_rel'::regclass, oid, 0, to_jsonb(p)
      FROM pg_publication_rel p WHERE prrelid IN (TABLE relations)
    UNION ALL
    SELECT 'pg_publication_namespace'::regclass, oid, 0, to_jsonb(p)
      FROM pg_publication_namespace p WHERE pnnspid IN (TABLE space)
    UNION ALL
    SELECT 'pg_proc'::regclass, oid, 0, to_jsonb(p) FROM pg_proc p WHERE pronamespace IN (TABLE space)
    UNION ALL
    SELECT 'pg_type'::regclass, oid, 0, to_jsonb(t) FROM pg_type t WHERE oid IN (TABLE types) AND typcategory <> 'A'
    UNION ALL
    SELECT 'pg_type'::regclass, enumtypid, 0, to_jsonb(e) FROM pg_enum e WHERE enumtypid IN (TABLE types)
    UNION ALL
    SELECT 'pg_cast'::regclass, oid, 0, to_jsonb(c)
      FROM pg_cast c WHERE castsource IN (TABLE types) OR casttarget IN (TABLE types)
    UNION ALL
    SELECT 'pg_transform'::regclass, oid, 0, to_jsonb(t) FROM pg_transform t WHERE trftype IN (TABLE types)
    UNION ALL
    SELECT 'pg_operator'::regclass, oid, 0, to_jsonb(o) FROM pg_operator o WHERE oprnamespace IN (TABLE space)
    UNION ALL
    SELECT 'pg_opclass'::regclass, oid, 0, to_jsonb(o) FROM pg_opclass o WHERE opcnamespace IN (TABLE space)
    UNION ALL
    SELECT 'pg_opfamily'::regclass, oid, 0, to_jsonb(o) FROM pg_opfamily o WHERE opfnamespace IN (TABLE space)
    UNION ALL
    SELECT 'pg_collation'::regclass, oid, 0, to_jsonb(c) FROM pg_collation c WHERE collnamespace IN (TABLE space)
    UNION ALL
    SELECT 'pg_conversion'::regclass, oid, 0, to_jsonb(c) FROM pg_conversion c WHERE connamespace IN (TABLE space)
    UNION ALL
    SELECT 'pg_ts_config'::regclass, oid, 0, to_jsonb(t) FROM pg_ts_config t WHERE cfgnamespace IN (TABLE space)
    UNION ALL
    SELECT 'pg_ts_dict'::regclass, oid, 0, to_jsonb(t) FROM pg_ts_dict t WHERE dictnamespace IN (TABLE space)
    UNION ALL
    SELECT 'pg_ts_parser'::regclass, oid, 0, to_jsonb(t) FROM pg_ts_parser t WHERE prsnamespace IN (TABLE space)
    UNION ALL
    SELECT 'pg_ts_template'::regclass, oid, 0, to_jsonb(t) FROM pg_ts_template t WHERE tmplnamespace IN (TABLE space)
    UNION ALL
    SELECT 'pg_extension'::regclass, oid, 0, to_jsonb(e) FROM pg_extension e WHERE extnamespace IN (TABLE space)
    UNION ALL
    -- Whatever schema they are for: they decide what a tenant may do with what comes later.
    SELECT 'pg_default_acl'::regclass, oid, 0, to_jsonb(a) FROM pg_default_acl a
)
SELECT CASE i.type WHEN 'default acl' THEN 'default privileges' ELSE i.type END || ' ' || i.identity AS object,
       o.definition::text AS definition,
       CASE WHEN o.classid = 'pg_class'::regclass AND o.objsubid = 0 AND o.definition ->> 'relkind' IN ('r', 'S')
            THEN i.identity END AS counted
  FROM objects o, pg_identify_object(o.classid, o.objid, o.objsubid) i
