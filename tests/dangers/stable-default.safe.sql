-- finds: nothing
ALTER TABLE orders ADD COLUMN at timestamptz NOT NULL DEFAULT now(), ADD COLUMN note text DEFAULT lower('A');
