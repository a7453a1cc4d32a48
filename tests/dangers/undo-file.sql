-- finds: undo-file:5
-- file: V1__a.sql
SELECT 1;
-- file: U1__b.sql
SELECT 1;
