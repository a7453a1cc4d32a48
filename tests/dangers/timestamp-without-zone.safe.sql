-- finds: nothing
ALTER TABLE orders ADD COLUMN at timestamptz, ADD COLUMN until timestamp(3) with time zone;
