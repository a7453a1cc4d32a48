-- finds: nothing
-- file: V1__a.sql
CREATE VIEW buyers AS SELECT 1 AS one;
-- file: U1__a.sql
DROP VIEW buyers;
