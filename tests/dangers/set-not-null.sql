-- finds: set-not-null:2
ALTER TABLE orders ALTER COLUMN buyer SET NOT NULL;
