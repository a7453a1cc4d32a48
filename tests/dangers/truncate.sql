-- finds: truncate:2, truncate:3
TRUNCATE orders;
TRUNCATE TABLE items CASCADE;
