-- finds: domain-with-constraint:2
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
