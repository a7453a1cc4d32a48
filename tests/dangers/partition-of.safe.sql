-- finds: nothing
CREATE TABLE events_2027 (id uuid PRIMARY KEY, at timestamptz);
ALTER TABLE events ATTACH PARTITION events_2027 FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
