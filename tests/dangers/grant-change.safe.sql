-- finds: nothing
CREATE TABLE log (id uuid PRIMARY KEY);
REVOKE UPDATE, DELETE ON log FROM freehold_tenant;
