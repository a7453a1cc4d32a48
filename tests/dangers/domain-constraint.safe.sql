-- finds: nothing
ALTER DOMAIN email ADD CONSTRAINT at_sign CHECK (VALUE LIKE '%@%') NOT VALID;
