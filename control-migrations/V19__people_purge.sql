-- How far the round is that takes away what is due of tenants' people. It is a row among the checks, which go round the
-- same way.
INSERT INTO checks (name) VALUES ('people.purge');
