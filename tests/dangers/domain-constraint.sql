-- finds: domain-constraint:2, domain-constraint:3
ALTER DOMAIN email ADD CONSTRAINT at_sign CHECK (VALUE LIKE '%@%');
ALTER DOMAIN email SET NOT NULL;
