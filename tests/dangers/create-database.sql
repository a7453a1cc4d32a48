-- finds: drop-database:3
-- freehold:no-transaction
CREATE DATABASE other;
