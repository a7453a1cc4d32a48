-- finds: column-twice:2, column-twice:3, column-twice:4
CREATE TABLE parts (id uuid PRIMARY KEY, name text, name text);
UPDATE orders SET state = 'a', state = 'b' WHERE id = 'x';
INSERT INTO parts (id, id) VALUES ('a', 'b');
