-- finds: add-not-null-column:2
ALTER TABLE orders ADD COLUMN note text NOT NULL;
