//! Every foreign key has an index behind it: who deletes a row that is referred to must not read a whole table.

use crate::harness::fleet;

/// Foreign keys whose columns, as a set, no index begins with. A partial index serves only when all that it leaves out
/// are nulls of the key itself, which refer to nothing; a row is named with its table and constraint.
const WITHOUT_INDEX: &str = "
    SELECT k.conrelid::regclass || '.' || k.conname
      FROM pg_constraint k
     WHERE k.contype = 'f'
       AND NOT EXISTS (
           SELECT FROM pg_index i
            WHERE i.indrelid = k.conrelid AND i.indisvalid
              AND (SELECT array_agg(part ORDER BY part)
                     FROM unnest((i.indkey::int2[])[0:cardinality(k.conkey) - 1]) part)
                = (SELECT array_agg(part ORDER BY part) FROM unnest(k.conkey) part)
              AND (i.indpred IS NULL
                   OR cardinality(k.conkey) = 1
                      AND pg_get_expr(i.indpred, i.indrelid) = (
                          SELECT format('(%I IS NOT NULL)', attname) FROM pg_attribute
                           WHERE attrelid = k.conrelid AND attnum = k.conkey[1])))
     ORDER BY 1";

#[tokio::test]
async fn every_foreign_key_has_an_index_that_begins_with_its_columns() {
    let fleet = fleet::shared().await;
    let tenant = fleet.on_server(&fleet.tenant().await.database_name());
    for (database, what) in [(&fleet.control(), "control"), (&tenant, "tenant")] {
        let count: i64 = database.value("SELECT count(*) FROM pg_constraint WHERE contype = 'f'").await;
        assert!(count > 5, "the {what} database has {count} foreign keys");
        let without: Vec<String> = database.values(WITHOUT_INDEX).await;
        assert!(without.is_empty(), "the {what} database has no index for the foreign keys {without:?}");
    }
}
