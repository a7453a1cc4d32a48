-- finds: nothing
INSERT INTO settings (name, value) VALUES ('a', 'b');
