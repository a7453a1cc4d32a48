-- finds: drop-not-null:2
ALTER TABLE orders ALTER COLUMN state DROP NOT NULL;
