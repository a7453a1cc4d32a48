-- finds: add-trigger:5, index-without-concurrently:3, truncate:6
CREATE TABLE IF NOT EXISTS orders (id uuid PRIMARY KEY, buyer text);
CREATE INDEX orders_buyer_idx ON orders (buyer);
CREATE FUNCTION items() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TRIGGER parts AFTER UPDATE ON items FOR EACH ROW EXECUTE FUNCTION changed();
TRUNCATE parts;
