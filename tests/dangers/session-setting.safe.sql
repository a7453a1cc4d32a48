-- finds: nothing
SET LOCAL search_path = other;
SELECT set_config('TimeZone', 'UTC', true);
