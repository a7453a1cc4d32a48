-- finds: no-primary-key:2
CREATE TABLE parts (id uuid, name text);
