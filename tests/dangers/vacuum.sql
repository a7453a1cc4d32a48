-- finds: needs-no-transaction:2
VACUUM orders;
