-- finds: nothing
-- freehold:allow do-block: reads a setting and changes nothing
DO $$ BEGIN PERFORM 1; END $$;
