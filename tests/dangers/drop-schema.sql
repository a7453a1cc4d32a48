-- finds: drop-schema:2
DROP SCHEMA billing;
