-- finds: alter-system:3
-- freehold:no-transaction
ALTER SYSTEM SET max_connections = 10;
