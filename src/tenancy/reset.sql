CLOSE ALL;
SET SESSION AUTHORIZATION DEFAULT;
RESET ALL;
UNLISTEN *;
DISCARD TEMP;
DISCARD SEQUENCES;
SELECT pg_catalog.pg_advisory_unlock_all(),
    pg_catalog.now() OPERATOR(pg_catalog.<>) pg_catalog.statement_timestamp()
    OR EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql);
