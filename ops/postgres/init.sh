#!/usr/bin/env bash
# Runs once, when the image of PostgreSQL has made its data folder: the roles that Freehold needs. The server
# listens on its own socket only at this moment, and logs no statements.
set -euo pipefail

run_sql() { psql -X -q -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d postgres "$@"; }

set_password() {
  local role=$1 file=$2
  run_sql -v role="$role" -v password="$(cat "$file")" <<<"ALTER ROLE :\"role\" PASSWORD :'password';"
}

run_sql -f /freehold/server.sql
set_password freehold_admin /run/secrets/admin_password
if [ "${POSTGRES_DB:-}" = freehold_control ]; then
  run_sql -f /freehold/control.sql
  set_password freehold_control /run/secrets/control_password
fi
# Who comes over the network comes with TLS.
sed -i 's/^host \{1,\}all \{1,\}all \{1,\}all /hostssl all all all /' "$PGDATA/pg_hba.conf"
