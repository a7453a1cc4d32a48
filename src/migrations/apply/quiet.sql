-- Whether others need the tables $1 now, or the server itself needs a pause. One row.
--
-- VACUUM, ANALYZE and their like hold a SHARE UPDATE EXCLUSIVE lock; who runs them, only administrators may see. Of WAL,
-- files are counted from the newest that is archived to the one that is written to.
WITH locks AS (
    SELECT mode, granted FROM pg_locks
     WHERE locktype IN ('relation', 'tuple') AND relation = ANY($1) AND pid <> pg_backend_pid()
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), wal AS (
    SELECT last_failed_time, last_archived_time, pg_size_bytes(current_setting('wal_segment_size')) AS size,
           ARRAY[pg_walfile_name(pg_current_wal_lsn()), substr(last_archived_wal, 1, 24)] AS files
      FROM pg_stat_archiver
     WHERE current_setting('archive_mode') <> 'off' AND NOT pg_is_in_recovery()
), numbered AS (
    SELECT last_failed_time, last_archived_time,
           (SELECT array_agg(('x' || substr(file, 9, 8))::bit(32)::int8 * (4294967296 / size)
                             + ('x' || substr(file, 17, 8))::bit(32)::int8 ORDER BY place)
              FROM unnest(files) WITH ORDINALITY AS f (file, place) WHERE file ~ '^[0-9A-F]{24}$') AS numbers
      FROM wal
)
SELECT EXISTS (SELECT FROM locks WHERE mode = 'ShareUpdateExclusiveLock' AND granted) AS vacuum,
       EXISTS (SELECT FROM locks WHERE NOT granted) AS sessions,
       EXISTS (SELECT FROM numbered
                WHERE last_failed_time > coalesce(last_archived_time, '-infinity') OR numbers[1] - numbers[2] > $2) AS archiving
