-- finds: timeout-override:5, timeout-override:6, timeout-override:7, timeout-override:8
-- file: V1__first.sql
SELECT 1;
-- file: V2__second.sql
SET LOCAL lock_timeout = '10min';
SET statement_timeout = 0;
SELECT set_config('statement_timeout', '0', true);
RESET lock_timeout;
