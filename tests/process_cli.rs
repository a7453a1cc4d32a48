//! The command line from end to end: what it prints, how it exits, and that it keeps secrets to itself.

use std::{fs, os::unix::fs::PermissionsExt, process::Output, time::Duration};

use serde_json::Value;

use crate::{
    adoption::product_of_before,
    harness::{
        eventually, eventually_within,
        programs::{Dev, Variables, connect, processes_in, run},
        unique,
    },
};

/// How a command ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The one sentence in which it failed.
    fn sentence(&self) -> &str {
        assert_eq!((self.code, self.out.as_str()), (Some(1), ""), "{}", self.err);
        let said = self.err.strip_prefix("error: ").unwrap_or_else(|| panic!("{}", self.err));
        said.lines().next().unwrap()
    }
}

/// Runs `freehold <line>` with the settings of `dev.env`.
async fn freehold(dev: &Dev, line: &str) -> Said {
    freehold_with(dev, line, &dev.dev_env(), "").await
}

async fn freehold_with(dev: &Dev, line: &str, variables: &Variables, input: &str) -> Said {
    let arguments: Vec<_> = line.split_whitespace().collect();
    let Output { status, stdout, stderr } = run(dev.folder(), &arguments, variables, input).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

#[tokio::test]
async fn a_tenant_is_made_listed_shown_and_followed() {
    let dev = Dev::shared().await;
    let slug = unique("cli");
    let line = format!("tenant create {slug} --plan bench --admin-email bill@initech.example --admin-password-stdin");
    let password = "a long enough passphrase";
    let made = freehold_with(dev, &format!("{line} -o json"), &dev.dev_env(), password).await.json();
    assert_eq!(
        (&made["slug"], &made["state"], &made["plan"]),
        (&slug.as_str().into(), &"active".into(), &"bench".into())
    );
    dev.public().at(&slug).sign_in("bill@initech.example", password).await;

    let listed = freehold(dev, &format!("tenant list --q {slug} -o json")).await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["items"][0]["id"], made["id"]);
    let table = freehold(dev, "tenant list --all").await;
    assert!(
        table.out.trim_start().starts_with("SLUG") && table.out.contains(&slug) && table.out.contains("acme"),
        "{}",
        table.out
    );
    assert_eq!(freehold(dev, &format!("tenant show {slug} -o json")).await.json()["id"], made["id"]);
    assert!(freehold(dev, &format!("tenant show {slug}")).await.out.contains("active"));

    let operation = made["operation_id"].as_str().unwrap();
    let shown = freehold(dev, &format!("operation show {operation} -o json")).await.json();
    assert_eq!(shown["state"], "succeeded");
    assert!(shown["steps"].as_array().unwrap().iter().all(|step| step["state"] == "succeeded"), "{shown}");
    assert!(freehold(dev, &format!("operation show {operation}")).await.out.contains("create_database"));
    assert!(freehold(dev, &format!("operation watch {operation}")).await.out.contains("succeeded"));
    let operations = freehold(dev, "operation list --state succeeded -o json").await.json();
    assert!(operations["items"].as_array().unwrap().iter().any(|item| item["id"] == operation), "{operations}");
}

#[tokio::test]
async fn a_database_that_is_there_already_is_looked_at_and_adopted() {
    let dev = Dev::shared().await;
    let slug = unique("moved");
    let database = slug.replace('-', "_");
    let server = dev.server().await;
    for sql in [
        format!("CREATE ROLE {database}"),
        // Closed from its first moment: what everybody may enter is found by `verify isolation`.
        format!("CREATE DATABASE {database} TEMPLATE template0 OWNER {database} ALLOW_CONNECTIONS false"),
        format!(
            "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC; GRANT CONNECT ON DATABASE {database} TO freehold_admin;
             ALTER DATABASE {database} ALLOW_CONNECTIONS true"
        ),
        format!(
            "DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 THEN
                 EXECUTE 'GRANT {database} TO freehold_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE';
             END IF; END $$"
        ),
    ] {
        server.batch_execute(&sql).await.unwrap();
    }
    let (server, _) = dev.told("/servers/0/superuser_url").rsplit_once('/').unwrap();
    let inside = connect(&format!("{server}/{database}")).await;
    inside.batch_execute(&format!("SET ROLE {database}; CREATE TABLE stray (id int)")).await.unwrap();
    let line = format!("tenant adopt {slug} --server {} --database {database}", dev.told("/servers/0/name"));

    let looked = freehold(dev, &format!("{line} --dry-run")).await;
    assert_eq!((looked.code, looked.err.as_str()), (Some(1), ""), "{}", looked.out);
    assert!(looked.out.starts_with("conflict (compared") && looked.out.contains("database_in_use: "), "{}", looked.out);
    assert!(looked.out.contains("relation public.stray"), "{}", looked.out);
    inside.batch_execute(&format!("DROP TABLE stray; {}", product_of_before())).await.unwrap();
    drop(inside);
    eventually("a database that is ready", async || {
        let looked = freehold(dev, &format!("{line} --dry-run")).await;
        (looked.code == Some(0) && looked.out.starts_with("ready (compared")).then_some(())
    })
    .await;
    let adopted = freehold(dev, &format!("{line} -o json")).await.json();
    assert_eq!((&adopted["slug"], &adopted["state"]), (&slug.as_str().into(), &"active".into()), "{adopted}");
    let again = freehold(dev, &line).await;
    assert!(again.code == Some(1) && again.err.contains("no such database"), "{again:?}");
}

#[tokio::test]
async fn a_tenant_is_suspended_renamed_deleted_had_back_and_erased() {
    let dev = Dev::shared().await;
    let (slug, renamed) = (unique("cli"), unique("renamed"));
    let made = freehold(dev, &format!("tenant create {slug} -o json")).await.json();
    let id = made["id"].as_str().unwrap();
    let json = async |line: String| freehold(dev, &format!("{line} -o json")).await.json();
    let variables = dev.dev_env();
    let suspended =
        run(dev.folder(), &["tenant", "suspend", id, "--reason", "unpaid since March"], &variables, "").await;
    assert!(String::from_utf8_lossy(&suspended.stdout).contains("unpaid since March"), "{suspended:?}");
    assert_eq!(json(format!("tenant resume {id}")).await["state"], "active");
    assert_eq!(json(format!("tenant rename {id} {renamed}")).await["slug"], renamed.as_str());
    let updated = json(format!("tenant update {id} --plan bench --label tier=gold --label zone=b")).await;
    assert_eq!((&updated["plan"], &updated["labels"]["tier"]), (&"bench".into(), &"gold".into()));
    assert_eq!(
        json(format!("tenant update {id} --remove-label tier")).await["labels"],
        serde_json::json!({ "zone": "b" })
    );
    assert!(freehold(dev, &format!("tenant update {id}")).await.sentence().contains("--plan"));

    let preview = json(format!("tenant delete {id} --dry-run")).await;
    assert_eq!(preview["would_delete"]["databases"], 1, "{preview}");
    assert!(freehold(dev, &format!("tenant delete {id} --dry-run")).await.out.contains("bytes"));
    let unasked = freehold(dev, &format!("tenant delete {id}")).await;
    assert!(unasked.sentence().contains("--yes"), "{}", unasked.err);
    assert_eq!(json(format!("tenant delete {id} --yes")).await["state"], "deleting");
    assert_eq!(json(format!("tenant undelete {id}")).await["state"], "active");
    let certificate = json(format!("tenant delete {id} --erase --yes")).await;
    assert_eq!((&certificate["tenant_id"], &certificate["slug"]), (&id.into(), &renamed.as_str().into()));
    assert_eq!(json(format!("tenant certificate {id}")).await, certificate);
    assert!(freehold(dev, &format!("tenant certificate {id}")).await.out.contains("sha256="));
    assert_eq!(json(format!("tenant show {id}")).await["state"], "deleted");
    // Names are free at once here: a playground's tenants come and go.
    json(format!("tenant create {renamed}")).await;

    for line in ["delete", "suspend --reason x", "resume", "undelete", "certificate", "update --plan bench"] {
        let by_slug = freehold(dev, &format!("tenant {line} {renamed}")).await;
        assert_eq!(by_slug.code, Some(2), "{}", by_slug.err);
        assert!(by_slug.err.contains(&format!("freehold tenant show {renamed}")), "{}", by_slug.err);
    }
}

#[tokio::test]
async fn a_tenant_is_cloned_archived_and_woken() {
    let dev = Dev::shared().await;
    let (slug, copy, password) = (unique("cli"), unique("copy"), "a long enough passphrase");
    let line = format!("tenant create {slug} --admin-email bill@initech.example --admin-password-stdin -o json");
    let made = freehold_with(dev, &line, &dev.dev_env(), password).await.json();
    let id = made["id"].as_str().unwrap();
    let json = async |line: String| freehold(dev, &format!("{line} -o json")).await.json();

    let cloned = json(format!("tenant clone {id} {copy}")).await;
    assert_eq!((&cloned["slug"], &cloned["state"]), (&copy.as_str().into(), &"active".into()), "{cloned}");
    assert_ne!(cloned["id"], made["id"]);
    dev.public().at(&copy).sign_in("bill@initech.example", password).await;

    assert_eq!(json(format!("tenant archives {id}")).await["items"].as_array().map(Vec::len), Some(0));
    assert_eq!(json(format!("tenant archive {id}")).await["state"], "archived");
    let archives = json(format!("tenant archives {id}")).await;
    assert!(archives["items"][0]["verified_at"].is_string(), "{archives}");
    let table = freehold(dev, &format!("tenant archives {id}")).await.out;
    assert!(table.contains("VERIFIED") && table.contains(archives["items"][0]["id"].as_str().unwrap()), "{table}");
    let file = dev.folder().join(format!("{slug}.dump"));
    let export = format!("archive export {slug} --to {}", file.display());
    let exported = json(export.clone()).await;
    let dump = fs::read(&file).unwrap();
    assert_eq!((&exported["tenant_id"], &exported["bytes"]), (&id.into(), &dump.len().into()), "{exported}");
    assert!(dump.starts_with(b"PGDMP"), "{exported}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(freehold(dev, &export).await.sentence().contains("already"), "a file was overwritten");
    let unknown = freehold(dev, &format!("archive export {copy} --to {}.2", file.display())).await;
    assert!(unknown.sentence().contains("archive_not_found"), "{}", unknown.err);
    assert_eq!(
        fs::read_dir(dev.folder())
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(&slug) })
            .count(),
        1,
        "something is left behind"
    );
    fs::remove_file(&file).unwrap();
    let refused = freehold(dev, &format!("tenant clone {id} {}", unique("copy"))).await;
    assert!(refused.sentence().contains("archived"), "{}", refused.err);
    assert_eq!(json(format!("tenant restore {id}")).await["state"], "active");
    dev.public().at(&slug).sign_in("bill@initech.example", password).await;
}

#[tokio::test]
async fn who_is_invited_in_a_dev_environment_finds_a_mail_in_its_folder() {
    let dev = Dev::shared().await;
    let slug = unique("mailed");
    let address = format!("ada@{slug}.example");
    let line = format!("tenant create {slug} --name Mailed --admin-email {address} -o json");
    let made = freehold(dev, &line).await.json();
    let token = made["admin_invitation"]["token"].as_str().unwrap();
    let list = format!("job list --tenant {}", made["id"].as_str().unwrap());
    let job = eventually_within("the mail", Duration::from_secs(30), async || {
        let job = freehold(dev, &format!("{list} -o json")).await.json()["items"][0].clone();
        (job["state"] == "done").then_some(job)
    })
    .await;
    let id = job["id"].as_str().unwrap();
    assert_eq!(job["kind"], "mail.invitation");
    assert!(freehold(dev, &list).await.out.contains(id));
    assert!(freehold(dev, &format!("job show {id}")).await.out.contains("done"));
    assert!(freehold(dev, &format!("job retry {id}")).await.sentence().contains("job_not_dead"));

    let mails = freehold_with(dev, "dev mail --folder data -o json", &Variables::new(), "").await.json();
    let mail = mails["items"].as_array().unwrap().iter().find(|mail| mail["id"] == id).unwrap();
    assert_eq!((&mail["to"], &mail["subject"]), (&address.into(), &"You are invited to join Mailed".into()));
    let shown = freehold_with(dev, &format!("dev mail {id} --folder data"), &Variables::new(), "").await;
    let page = format!("{}/account/accept-invitation#token={token}", made["url"].as_str().unwrap());
    assert!(shown.out.contains(&page), "{}", shown.out);
    let none = freehold_with(dev, "dev mail job_f --folder data", &Variables::new(), "").await;
    assert!(none.sentence().contains("no such mail"), "{}", none.err);
    let file = dev.folder().join(format!("data/mail/{id}.eml"));
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn the_fleet_is_described_and_found_in_order() {
    let dev = Dev::shared().await;
    let keys = freehold(dev, "keys status -o json").await.json();
    let rotated = freehold(dev, "keys rotate -o json").await.json();
    assert_eq!((&rotated["to"], &rotated["remaining"]), (&keys["active"], &0.into()), "{rotated}");
    let servers = freehold(dev, "server list -o json").await.json();
    let names: Vec<_> = servers["items"].as_array().unwrap().iter().map(|server| &server["name"]).collect();
    assert_eq!(names, ["platform", "local-1"]);
    assert!(freehold(dev, "server list").await.out.contains("local-1"));
    let migrations = freehold(dev, "migration list -o json").await.json();
    assert_eq!(migrations["items"][0]["name"], "V1__identity.sql");
    assert!(freehold(dev, "migration list").await.out.contains("V1__identity.sql"));
    let plans = freehold(dev, "plan list -o json").await.json();
    assert_eq!(plans["items"].as_array().unwrap().len(), 2, "{plans}");

    let report = freehold(dev, "fsck -o json").await.json();
    assert_eq!(report["state"], "clean", "{report}");
    assert!(report["counts"].as_object().unwrap().values().all(|count| count == 0), "{report}");
    assert!(freehold(dev, "fsck").await.out.trim_start().starts_with("clean"));
    let isolation = freehold(dev, "verify isolation -o json").await.json();
    assert_eq!(isolation["successes"], 0, "{isolation}");
    assert!(isolation["attempts"].as_u64().unwrap() > 0, "{isolation}");
    assert!(freehold(dev, "verify isolation").await.out.contains(" 0 successes"));
}

#[tokio::test]
async fn failures_are_a_sentence_and_usage_has_a_code_of_its_own() {
    let dev = Dev::shared().await;
    let unknown = freehold(dev, "tenant show no-such-tenant").await;
    assert_eq!(unknown.sentence(), "there is no such tenant (not_found)");
    let taken = freehold(dev, "tenant create acme").await;
    assert!(taken.sentence().contains("slug_taken"), "{}", taken.err);
    let unknown_plan = freehold(dev, "tenant create initrode --plan gold").await;
    assert!(unknown_plan.sentence().contains("validation_failed"), "{}", unknown_plan.err);
    assert!(unknown_plan.err.contains("\n  plan: "), "{}", unknown_plan.err);

    let with = |name: &str, value: &str| {
        let mut variables = dev.dev_env();
        variables.insert(name.to_owned(), value.to_owned());
        variables
    };
    let wrong_key = with("FREEHOLD_API_KEY", "fhk_wrong");
    let wrong_key = freehold_with(dev, "tenant list", &wrong_key, "").await;
    assert!(wrong_key.sentence().contains("FREEHOLD_API_KEY"), "{}", wrong_key.err);
    let nobody = with("FREEHOLD_URL", "http://127.0.0.1:1");
    let nobody = freehold_with(dev, "tenant list", &nobody, "").await;
    assert!(nobody.sentence().starts_with("cannot reach Freehold at http://127.0.0.1:1"), "{}", nobody.err);
    let nothing = freehold_with(dev, "tenant list", &Variables::new(), "").await;
    assert!(nothing.sentence().contains("FREEHOLD_URL"), "{}", nothing.err);

    for line in ["", "tenants", "tenant create", "tenant create Not_A_Slug", "operation show ten_1", "fsck -o yaml"] {
        let usage = freehold(dev, line).await;
        assert_eq!((usage.code, usage.out.as_str()), (Some(2), ""), "freehold {line}: {}", usage.err);
    }
    assert_eq!(freehold(dev, "--help").await.code, Some(0));
}

#[tokio::test]
async fn the_configuration_is_judged_at_once_and_secrets_stay_secret() {
    let dev = Dev::shared().await;
    let mut wrong = dev.dev_env();
    let problems = ["FREEHOLD_PUBLIC_LISTEN", "FREEHOLD_TENANT_POOL_SIZE", "FREEHOLD_NO_SUCH_THING"];
    wrong.extend(problems.map(|name| (name.to_owned(), "hunter2".to_owned())));
    let judged = freehold_with(dev, "check-config", &wrong, "").await;
    judged.sentence();
    assert!(problems.iter().all(|name| judged.err.contains(name)), "{}", judged.err);
    assert!(!judged.err.contains("hunter2"), "{}", judged.err);

    let settings = dev.dev_env();
    let secrets: Vec<_> = ["FREEHOLD_CONTROL_URL", "FREEHOLD_KEY_ENCRYPTION_KEYS", "FREEHOLD_API_KEY"]
        .iter()
        .filter_map(|name| settings.get(*name))
        .map(String::as_str)
        .chain([dev.told("/operator/password"), dev.told("/tenants/0/admin_password")])
        .collect();
    let holds = freehold(dev, "check-config").await;
    assert_eq!(holds.code, Some(0), "{}", holds.err);
    assert!(secrets.iter().all(|secret| !holds.out.contains(secret)), "a secret in: {}", holds.out);
    for pid in processes_in(dev.folder()) {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        assert!(secrets.iter().all(|secret| !line.contains(secret)), "a secret in the arguments of {pid}");
    }
}

#[tokio::test]
async fn the_first_operators_key_goes_into_a_file_of_its_owner() {
    let dev = Dev::start().await;
    let superuser = connect(dev.told("/control/superuser_url")).await;
    superuser.batch_execute("CREATE DATABASE second OWNER freehold_control").await.unwrap();
    let mut variables = dev.dev_env();
    let control = dev.told("/control/database_url").replace("/freehold_control?", "/second?");
    variables.insert("FREEHOLD_CONTROL_URL".to_owned(), control);
    let bootstrap_on = async |server: &str, file: &str| {
        let mut variables = variables.clone();
        variables.insert("FREEHOLD_PLATFORM_SERVER_URL".to_owned(), server.to_owned());
        let line = format!("bootstrap --email ada@example.com --password-stdin --api-key-file {file}");
        freehold_with(&dev, &line, &variables, "a long enough passphrase").await
    };

    let bootstrap = async |file: &str| bootstrap_on(dev.told("/servers/0/admin_url"), file).await;

    // What cannot be written is refused before there is a key to lose.
    assert!(bootstrap("nowhere/key").await.sentence().contains("nowhere/key"));
    // A run that ends before the key is valid leaves it to the next one.
    let failed = bootstrap_on("postgres://nobody:nothing@127.0.0.1:1/postgres?sslmode=disable", "key").await;
    assert_eq!(failed.code, Some(1), "{}{}", failed.out, failed.err);
    let left = fs::read_to_string(dev.folder().join("key.unfinished")).unwrap();
    let first = bootstrap("key").await;
    assert_eq!(first.code, Some(0), "{}", first.err);
    let path = dev.folder().join("key");
    let key = fs::read_to_string(&path).unwrap();
    assert!(key.starts_with("fhk_") && key.ends_with('\n'));
    assert_eq!(key, left);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!first.out.contains("fhk_") && !first.err.contains("fhk_"), "{}{}", first.out, first.err);

    let again = bootstrap("key").await;
    assert!(again.code == Some(0) && again.out.contains("nothing to do"), "{}{}", again.out, again.err);
    assert_eq!(fs::read_to_string(&path).unwrap(), key);
    let unfinished = dev.folder().join("key.unfinished");
    assert!(!unfinished.exists());

    // As it is left by a run that was killed when the key was valid and not under its name yet.
    fs::rename(&path, &unfinished).unwrap();
    let continued = bootstrap("key").await;
    assert!(continued.code == Some(0) && continued.out.contains("is in"), "{}{}", continued.out, continued.err);
    assert_eq!(fs::read_to_string(&path).unwrap(), key);
    assert!(!unfinished.exists());
    // What others could have written there is no key.
    fs::rename(&path, &unfinished).unwrap();
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o604)).unwrap();
    let refused = bootstrap("key").await;
    assert!(refused.code == Some(0) && refused.out.contains("nothing to do"), "{}{}", refused.out, refused.err);
}

#[tokio::test]
async fn people_and_audit_logs_are_looked_after_at_night() {
    let dev = Dev::shared().await;
    let me = dev.told("/operator/email");
    let listed = freehold(dev, "user list -o json --all").await.json();
    assert!(listed["items"].as_array().unwrap().iter().any(|one| one["email"] == me), "{listed}");
    let shown = freehold(dev, &format!("user show {me} -o json")).await.json();
    assert_eq!((&shown["role"], &shown["active"]), (&"owner".into(), &true.into()));
    // The only owner stays.
    assert!(freehold(dev, &format!("user deactivate {me}")).await.sentence().contains("owner"));
    assert!(freehold(dev, "user show nobody@example.com").await.sentence().contains("nobody has the address"));
    let ended = freehold(dev, &format!("user revoke-sessions {me} -o json")).await.json();
    assert!(ended["revoked"].is_u64(), "{ended}");

    let people = dev.folder().join(unique("people"));
    fs::write(&people, "{\"email\":\"moved@example.com\"}\n{\"email\":\"b\"}\n").unwrap();
    let line = format!("user import acme {}", people.display());
    let tried = freehold(dev, &format!("{line} --dry-run")).await;
    assert_eq!((tried.code, tried.out.lines().next()), (Some(1), Some("1 would be created")), "{}", tried.err);
    let imported = freehold(dev, &line).await;
    assert!(imported.out.contains("1 created") && imported.out.contains("line 2: email must"), "{}", imported.out);
    fs::write(&people, "{\"email\":\"moved@example.com\"}").unwrap();
    let again = freehold(dev, &format!("{line} -o json")).await.json();
    assert_eq!((&again["existing"], &again["refused"]), (&1.into(), &0.into()));
    let email = format!("{}@example.com", unique("operator"));
    let invited = freehold(dev, &format!("operator invite {email} --role viewer -o json")).await.json();
    assert!(invited["token"].is_string() && invited["role"] == "viewer", "{invited}");
    assert!(freehold(dev, &format!("operator role {me} viewer")).await.sentence().contains("owner"));
    let lockout = freehold(dev, &format!("operator lockout {me} -o json")).await.json();
    assert_eq!((&lockout["locked"], &lockout["failures"]), (&false.into(), &0.into()));
    let unlocked = freehold(dev, &format!("operator unlock {me} -o json")).await.json();
    assert_eq!(unlocked["failures"], 0, "{unlocked}");

    let events = freehold(dev, "audit list --people --action user.sessions_revoked -o json").await.json();
    assert_eq!(events["items"][0]["target"], shown["id"], "{events}");
    let file = dev.folder().join(unique("audit"));
    let line = format!("audit export --format csv --to {}", file.display());
    let written = freehold(dev, &format!("{line} -o json")).await.json();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(written["bytes"], text.len());
    assert!(text.lines().count() > 1 && text.starts_with("id,at,"), "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(freehold(dev, &line).await.sentence().contains("already"));
    let verified = freehold(dev, "audit verify -o json").await.json();
    assert_eq!(verified["state"], "intact", "{verified}");
    let wrong = format!("audit verify --people --head 999999:{}", "0".repeat(64));
    let found = freehold(dev, &wrong).await;
    assert_eq!(found.code, Some(1));
    assert!(found.out.contains("head_differs"), "{}", found.out);
}
