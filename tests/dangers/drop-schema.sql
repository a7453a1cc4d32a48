-- finds: contract:2, drop-schema:2
DROP SCHEMA billing;
