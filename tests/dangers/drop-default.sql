-- finds: drop-default:2
ALTER TABLE orders ALTER COLUMN state DROP DEFAULT;
