-- finds: nothing
CREATE TABLE parts (id uuid PRIMARY KEY);
CREATE TRIGGER parts_changed AFTER UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION changed();
