-- finds: grant-change:2, grant-change:3
GRANT SELECT ON orders TO reporting;
REVOKE UPDATE ON orders FROM freehold_tenant;
