-- finds: nothing
CREATE OR REPLACE VIEW buyers AS SELECT 1 AS one;
