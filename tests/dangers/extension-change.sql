-- finds: extension-change:2
ALTER EXTENSION pg_trgm UPDATE TO '1.6';
