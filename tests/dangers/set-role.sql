-- finds: set-role:2, set-role:3, set-role:4, set-role:5
SET ROLE postgres;
RESET ROLE;
SET SESSION AUTHORIZATION postgres;
SELECT set_config('role', 'postgres', true);
