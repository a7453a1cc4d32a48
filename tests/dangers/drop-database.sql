-- finds: drop-database:3
-- freehold:no-transaction
DROP DATABASE acme;
