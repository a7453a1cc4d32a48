#!/usr/bin/env bash
# Entry point of the PostgreSQL containers. PostgreSQL wants its private key to be its own and closed to others,
# which a mounted secret is not: it gets a copy in memory.
set -euo pipefail
install -m 0600 /run/secrets/server_key /tmp/server.key
exec docker-entrypoint.sh postgres -c ssl=on -c ssl_min_protocol_version=TLSv1.3 \
  -c ssl_cert_file=/run/secrets/server_certificate -c ssl_key_file=/tmp/server.key \
  -c password_encryption=scram-sha-256 "$@"
