-- finds: nothing
CREATE FUNCTION run() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'EXECUTE'; END $$;
