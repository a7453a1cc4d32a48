-- finds: contract:2, drop-object:2, drop-object:3, drop-object:4, drop-object:5, drop-object:6
DROP VIEW buyers;
DROP FUNCTION totals();
DROP TYPE mood;
DROP SEQUENCE numbers;
DROP EXTENSION pg_trgm;
