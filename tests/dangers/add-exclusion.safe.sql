-- finds: nothing
CREATE TABLE stays (id uuid PRIMARY KEY, room int, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&));
