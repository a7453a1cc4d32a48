-- finds: nothing
-- file: V1__a.sql
SELECT 1;
-- file: V2__c.sql
SELECT 1;
