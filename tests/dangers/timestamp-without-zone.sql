-- finds: timestamp-without-zone:2, timestamp-without-zone:2
ALTER TABLE orders ADD COLUMN at timestamp, ADD COLUMN until timestamp(3) without time zone;
