-- finds: nothing
SELECT 1;
