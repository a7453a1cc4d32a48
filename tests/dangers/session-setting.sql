-- finds: session-setting:2, session-setting:3, session-setting:4
SET search_path = other;
SELECT set_config('TimeZone', 'UTC', false);
DISCARD ALL;
