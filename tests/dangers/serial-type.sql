-- finds: serial-type:2
CREATE TABLE parts (id bigserial PRIMARY KEY);
