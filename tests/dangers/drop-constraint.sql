-- finds: drop-constraint:2, drop-constraint:3
ALTER TABLE orders DROP CONSTRAINT orders_pkey;
DROP TRIGGER changed ON items;
