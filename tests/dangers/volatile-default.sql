-- finds: volatile-default:2, volatile-default:3
ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid();
ALTER TABLE items ADD COLUMN at timestamptz DEFAULT clock_timestamp();
