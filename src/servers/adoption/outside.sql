-- A database that may become a tenant's, seen from another one. $1: its name. $2: whether a role can be taken by those
-- only who have ADMIN OPTION on it (from PostgreSQL 16 on).
SELECT d.oid, d.datallowconn AS is_open, d.datistemplate AS is_template, d.datconnlimit AS conn_limit,
       pg_encoding_to_char(d.encoding)::text AS encoding, quote_ident(d.datname) AS quoted,
       r.oid AS owner_oid, r.rolname::text AS owner, quote_ident(r.rolname) AS quoted_owner, r.rolsuper AS is_superusers,
       r.rolname = current_user
           OR CASE WHEN $2 THEN pg_has_role(r.oid, 'USAGE') AND pg_has_role(r.oid, 'SET')
                   ELSE pg_has_role(r.oid, 'USAGE') END AS is_held,
       -- By what sorts texts: the name of an ICU locale is in another column before PostgreSQL 17.
       (SELECT (t.datcollate, t.datctype, t.datlocprovider,
                coalesce(to_jsonb(t) ->> 'datlocale', to_jsonb(t) ->> 'daticulocale'))
               IS NOT DISTINCT FROM
               (d.datcollate, d.datctype, d.datlocprovider,
                coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'))
          FROM pg_database t WHERE t.datname = 'template0') AS has_servers_locale,
       NOT $2 OR pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') AS is_grantable,
       ARRAY(SELECT DISTINCT coalesce(a.usename, 'a dropped role')::text FROM pg_stat_activity a
              WHERE a.datid = d.oid AND a.pid <> pg_backend_pid() AND a.usesysid IS NOT NULL
                -- Freehold's own have looked, and end by themselves. What is hidden from this role is another's.
                AND NOT (a.usename = current_user AND coalesce(a.application_name, '') LIKE 'freehold:%')
              ORDER BY 1) AS sessions,
       (SELECT count(*) FROM pg_prepared_xacts p WHERE p.database = d.datname) AS prepared,
       (SELECT count(*) FROM pg_replication_slots s WHERE s.database = d.datname) AS slots,
       (SELECT count(*) FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) AS settings,
       EXISTS (SELECT FROM aclexplode(d.datacl) a WHERE a.grantor <> d.datdba) AS is_passed_on,
       -- Each for itself: a role may be gone when it is to have its rights again.
       ARRAY(SELECT format('DO %L', format('BEGIN EXECUTE %L; EXCEPTION WHEN undefined_object THEN NULL; END',
                    format('GRANT %s ON DATABASE %I TO %s%s', string_agg(a.privilege_type, ', '), d.datname,
                           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                           CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)))
               FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
              GROUP BY a.grantee, a.is_grantable) AS grants,
       format('COMMENT ON DATABASE %I IS %L', d.datname, shobj_description(d.oid, 'pg_database')) AS comment
  FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
 WHERE d.datname = $1
