-- finds: int-key:2, int-key:2, int-key:3
CREATE TABLE parts (id int PRIMARY KEY, order_id int);
CREATE TABLE notes (key integer PRIMARY KEY);
