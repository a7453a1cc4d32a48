-- finds: varchar-limit:2, varchar-limit:3
ALTER TABLE orders ADD COLUMN title varchar(40);
CREATE TABLE parts (id uuid PRIMARY KEY, name character varying(20));
