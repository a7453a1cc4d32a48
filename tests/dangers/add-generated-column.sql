-- finds: add-generated-column:2, add-generated-column:3, add-generated-column:4, serial-type:2
ALTER TABLE orders ADD COLUMN number bigserial;
ALTER TABLE items ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
ALTER TABLE parts ADD COLUMN name_lower text GENERATED ALWAYS AS (lower(name)) STORED;
