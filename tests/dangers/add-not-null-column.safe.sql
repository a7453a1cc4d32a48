-- finds: nothing
ALTER TABLE orders ADD COLUMN note text NOT NULL DEFAULT '';
