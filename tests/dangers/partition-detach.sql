-- finds: partition-detach:2
ALTER TABLE events DETACH PARTITION events_2025;
