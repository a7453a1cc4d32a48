-- finds: do-block:2
DO $$ BEGIN PERFORM 1; END $$;
