-- finds: role-change:2, role-change:3, role-change:4, role-change:5, role-change:6, role-change:7
CREATE ROLE intruder LOGIN;
ALTER ROLE freehold_owner SUPERUSER;
DROP USER somebody;
GRANT freehold_owner TO intruder;
REASSIGN OWNED BY a TO b;
DROP OWNED BY a;
