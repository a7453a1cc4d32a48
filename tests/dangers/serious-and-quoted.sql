-- finds: add-check:2, contract:3, drop-table:3
ALTER TABLE "public"."Orders" ADD CHECK ("Total" > 0);
DROP TABLE /* not a comment's end */ public.orders;
