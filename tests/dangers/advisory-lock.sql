-- finds: advisory-lock:2, advisory-lock:3
SELECT pg_advisory_xact_lock(1);
SELECT pg_try_advisory_lock(1);
