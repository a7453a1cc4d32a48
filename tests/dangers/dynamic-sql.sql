-- finds: dynamic-sql:2, dynamic-sql:3, dynamic-sql:4, dynamic-sql:5
CREATE FUNCTION run(command text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE command; END $$;
PREPARE p AS SELECT 1;
EXECUTE p;
CALL tidy_up();
