-- finds: json-column:2
ALTER TABLE orders ADD COLUMN details json;
