-- finds: no-transaction-needless:3, partition-detach:3
-- freehold:no-transaction
ALTER TABLE events DETACH PARTITION events_2025 CONCURRENTLY;
