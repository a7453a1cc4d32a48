-- finds: partition-attach:3
CREATE TABLE events_2027 (id uuid PRIMARY KEY, at timestamptz);
ALTER TABLE events ATTACH PARTITION events_2026 DEFAULT;
