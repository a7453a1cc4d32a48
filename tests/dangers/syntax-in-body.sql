-- finds: syntax:2
CREATE FUNCTION one() RETURNS int LANGUAGE sql AS $$ SELEC 1 $$;
