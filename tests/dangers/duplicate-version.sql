-- finds: duplicate-version:5
-- file: V1__a.sql
SELECT 1;
-- file: V1__b.sql
SELECT 1;
