-- finds: version-gap:5
-- file: V1__a.sql
SELECT 1;
-- file: V3__c.sql
SELECT 1;
