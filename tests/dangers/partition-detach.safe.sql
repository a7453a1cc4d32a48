-- finds: nothing
-- freehold:no-transaction
ALTER TABLE events DETACH PARTITION events_2025 CONCURRENTLY;
