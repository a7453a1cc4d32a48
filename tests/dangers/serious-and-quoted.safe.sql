-- finds: nothing
CREATE TABLE "Orders" (id uuid PRIMARY KEY, "Total" bigint);
ALTER TABLE public."Orders" ADD CHECK ("Total" > 0);
