-- An index behind every foreign key: who deletes a row that is referred to must not read a whole table.

CREATE INDEX signing_keys_tenant_id_idx ON signing_keys (tenant_id);
CREATE INDEX tenants_plan_idx ON tenants (plan);
CREATE INDEX warm_databases_server_id_idx ON warm_databases (server_id);
