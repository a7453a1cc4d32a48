-- finds: transaction-control:2, transaction-control:4, transaction-control:5, transaction-control:6
BEGIN;
SELECT 1;
SAVEPOINT here;
ROLLBACK TO here;
COMMIT;
