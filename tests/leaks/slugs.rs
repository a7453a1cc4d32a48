//! Slugs that are held for nobody, and tenants whose slug is.

use serde_json::{Value, json};

use super::{age, bury, counted, eventually, found, janitor, noted, row, uuid};
use crate::harness::{
    fleet::{self, Fleet},
    unique,
};

/// Holds a slug for somebody, for ever or until then.
async fn hold(fleet: &Fleet, slug: &str, id: &str, expires_at: &str) {
    let sql =
        format!("INSERT INTO slugs (slug, tenant_id, expires_at) VALUES ('{slug}', '{}', {expires_at})", uuid(id));
    fleet.control().run(&sql).await;
}

/// For whom the slug is held, and how many days yet.
async fn held(fleet: &Fleet, slug: &str) -> Option<(String, Option<i32>)> {
    let sql = format!(
        "SELECT jsonb_build_array('ten_' || replace(tenant_id::text, '-', ''), round(extract(epoch FROM expires_at - now()) / 86400))::text
         FROM slugs WHERE slug = '{slug}'"
    );
    let found = fleet.control().values::<String>(&sql).await.pop()?;
    Some(serde_json::from_str(&found).unwrap())
}

/// A slug, for whom it is held and how many days yet, and why.
type Expected<'a> = (&'a str, Option<(&'a str, Option<i32>)>, &'a str);

async fn assert_held(fleet: &Fleet, expected: &[Expected<'_>]) {
    for (slug, expected, why) in expected {
        let expected = expected.map(|(id, days)| (id.to_owned(), days));
        assert_eq!(held(fleet, slug).await, expected, "{slug}: {why}");
    }
}

/// What the janitor has noted about those that it has mended.
async fn assert_noted(fleet: &Fleet, expected: &[(&str, Value)]) {
    for (id, details) in expected {
        let lines = noted(fleet, "janitor.mend_slug", id).await;
        assert_eq!((lines.len(), &lines[0]["details"]), (1, details), "{id}");
    }
}

#[tokio::test]
async fn slugs_that_are_held_for_nobody_are_let_go() {
    let fleet = fleet::alone().await;
    let (control, other) = (fleet.control(), unique("other"));
    let (renamed, bare) = (fleet.tenant().await, fleet.tenant().await);
    let names = ["tomb", "holder", "expired"].map(unique);
    let [tomb, holder, expired] = names.each_ref().map(String::as_str);
    let (tombstone, holder_id) = (row(&fleet, tomb, "deleted").await, row(&fleet, holder, "archived").await);
    control.run(&format!("UPDATE slugs SET slug = '{other}' WHERE slug = '{}'", renamed.slug)).await;
    control.run(&format!("DELETE FROM slugs WHERE slug = '{}'", bare.slug)).await;
    hold(&fleet, tomb, &tombstone, "NULL").await;
    hold(&fleet, holder, &holder_id, "NULL").await;
    hold(&fleet, expired, &holder_id, "now() - interval '2 days'").await;
    let before = counted(&fleet, "leaked_slugs").await;
    age(&control, &[&renamed.slug, &bare.slug, tomb, holder]).await;
    let _janitor = janitor(&fleet).await;
    eventually("slugs to be mended", async || found(&fleet, "leaked_reservation").await.is_empty()).await;
    let held = [
        (&*renamed.slug, Some((&*renamed.id, None)), "its own"),
        (&*other, Some((&*renamed.id, Some(30))), "it leads to the tenant for a while"),
        (&*bare.slug, Some((&*bare.id, None)), "its own"),
        (tomb, Some((&*tombstone, Some(30))), "kept from others as after an erasure"),
        (holder, Some((&*holder_id, None)), "its own"),
        (expired, None, "nobody's"),
    ];
    assert_held(&fleet, &held).await;
    let mended = [
        (&*renamed.id, json!({ "released": [other], "held": renamed.slug })),
        (&*bare.id, json!({ "released": [], "held": bare.slug })),
        (&*tombstone, json!({ "released": [tomb], "held": null })),
    ];
    assert_noted(&fleet, &mended).await;
    assert!(counted(&fleet, "leaked_slugs").await >= before + 3.0);
    assert!(noted(&fleet, "janitor.mend_slug", &holder_id).await.is_empty());
    for tenant in [&renamed, &bare] {
        tenant.admin.get("/v1/projects").await.expect(200);
    }
    bury(&control, &names).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_tenant_gets_its_slug_back_from_whoever_does_not_have_it() {
    let fleet = fleet::alone().await;
    let control = fleet.control();
    let names = ["thief", "robbed", "fresh", "barred", "barring", "changing"].map(unique);
    let [thief, robbed, fresh, barred, barring, changing] = names.each_ref().map(String::as_str);
    let mut ids = Vec::new();
    for slug in &names {
        ids.push(row(&fleet, slug, "archived").await);
    }
    let [thief_id, robbed_id, fresh_id, barred_id, barring_id, changing_id] = ids.try_into().unwrap();
    hold(&fleet, robbed, &thief_id, "NULL").await;
    hold(&fleet, barring, &barring_id, "NULL").await;
    hold(&fleet, barred, &barring_id, "now() + interval '1 hour'").await;
    age(&control, &[thief, robbed, barred, barring, changing]).await;
    control.run(&format!("UPDATE tenants SET name = 'fresh' WHERE slug = '{fresh}'")).await;
    let change = control.connect().await.unwrap();
    let lock = format!("BEGIN; SELECT FROM tenants WHERE slug = '{changing}' FOR UPDATE");
    change.batch_execute(&lock).await.unwrap();
    let first = janitor(&fleet).await;
    eventually("slugs to be mended", async || {
        let leaks = found(&fleet, "leaked_reservation").await;
        leaks.len() == 3 && leaks.iter().all(|slug| [fresh, barred, changing].contains(&slug.as_str()))
    })
    .await;
    drop(first);
    let held = [
        (thief, Some((&*thief_id, None)), "its own"),
        (robbed, Some((&*robbed_id, None)), "its own"),
        (fresh, None, "too young"),
        (barred, Some((&*barring_id, Some(0))), "another's for an hour yet"),
        (changing, None, "somebody is at it"),
    ];
    assert_held(&fleet, &held).await;
    let mended = [
        (&*thief_id, json!({ "released": [robbed], "held": thief })),
        (&*robbed_id, json!({ "released": [], "held": robbed })),
    ];
    assert_noted(&fleet, &mended).await;
    for id in [&fresh_id, &barred_id, &barring_id, &changing_id] {
        assert!(noted(&fleet, "janitor.mend_slug", id).await.is_empty());
    }
    change.batch_execute("ROLLBACK").await.unwrap();
    the_rest(&fleet, fresh, (barred, barred_id)).await;
    bury(&control, &names).await;
    fleet.assert_clean().await;
}

/// What was young grows old, what was another's becomes free, and the one that was being changed is left to itself.
async fn the_rest(fleet: &Fleet, fresh: &str, (barred, barred_id): (&str, String)) {
    let control = fleet.control();
    control.run(&format!("UPDATE slugs SET expires_at = now() WHERE slug = '{barred}'")).await;
    age(&control, &[fresh, barred]).await;
    let _janitor = janitor(fleet).await;
    eventually("the rest to be mended", async || found(fleet, "leaked_reservation").await.is_empty()).await;
    assert_eq!(held(fleet, barred).await, Some((barred_id, None)));
}
