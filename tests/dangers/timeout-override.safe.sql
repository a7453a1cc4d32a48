-- finds: nothing
SET statement_timeout = 0;
SET lock_timeout = 0;
CREATE TABLE public.invoices (id bigint NOT NULL PRIMARY KEY, total numeric(12,2));
ALTER TABLE public.invoices OWNER TO freehold_owner;
