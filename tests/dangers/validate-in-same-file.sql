-- finds: alter-table-again:3, validate-in-same-file:3
ALTER TABLE orders ADD CONSTRAINT total_check CHECK (total > 0) NOT VALID;
ALTER TABLE orders VALIDATE CONSTRAINT total_check;
