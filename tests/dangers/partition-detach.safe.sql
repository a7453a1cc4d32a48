-- finds: nothing
-- freehold:allow partition-detach: the lock is held for a moment, and asked for in tries
ALTER TABLE events DETACH PARTITION events_2025;
