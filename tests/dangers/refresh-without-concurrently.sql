-- finds: refresh-without-concurrently:2
REFRESH MATERIALIZED VIEW totals;
