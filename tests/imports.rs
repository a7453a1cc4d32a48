//! People who come from other systems: with hashes of every kind, line by line, and by whom.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    harness::{
        PASSWORD,
        actors::Caller,
        answer::Answer,
        eventually,
        fleet::{self, Fleet},
        tenant::Tenant,
        unique,
    },
    people::id_of,
    sign_ins::{age_proofs, patiently, signed_in},
};

const IMPORT: &str = "/v1/users/import";
const OWN: &str = "what came along for years";

async fn import_at(caller: &Caller, path: &str, lines: &[Value]) -> Answer {
    let body = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let request = caller.request(Method::POST, path).header("content-type", "application/x-ndjson");
    Answer::to(request.body(body)).await
}

async fn import(caller: &Caller, lines: &[Value]) -> Answer {
    import_at(caller, IMPORT, lines).await
}

fn of_tenant(tenant: &Tenant<'_>) -> String {
    format!("/platform/v1/tenants/{}/users/import", tenant.id)
}

/// What has become of each line: its state, or the field and the code that are wrong.
fn told(answer: &Answer) -> Vec<String> {
    let summary = answer.expect(200);
    let results = summary["results"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let told = |result: &Value| match &result["error"] {
        Value::Null => text(&result["state"]),
        error => format!("{} {}", text(&error["field"]), text(&error["code"])),
    };
    results.iter().map(told).collect()
}

/// [`OWN`] as other systems store it.
fn hashes() -> Vec<String> {
    let encoded = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
    let derived = |algorithm, length: usize| {
        let mut output = vec![0; length];
        pbkdf2::derive(algorithm, NonZeroU32::new(1_000).unwrap(), b"saltsalt", OWN.as_bytes(), &mut output);
        encoded(&output)
    };
    let bcrypt = bcrypt::hash_with_salt(OWN, 4, [3; 16]).unwrap();
    let mut scrypt = [0; 32];
    scrypt::scrypt(OWN.as_bytes(), b"saltsalt", &scrypt::Params::new(10, 8, 1).unwrap(), &mut scrypt).unwrap();
    let salt = encoded(b"saltsalt");
    let argon = |algorithm: argon2::Algorithm| {
        let params = argon2::Params::new(256, 1, 1, Some(32)).unwrap();
        let mut output = [0; 32];
        let argon2 = argon2::Argon2::new(algorithm, argon2::Version::V0x13, params);
        argon2.hash_password_into(OWN.as_bytes(), b"saltsalt", &mut output).unwrap();
        format!("${algorithm}$v=19$m=256,t=1,p=1${salt}${}", encoded(&output))
    };
    let sha256 = derived(pbkdf2::PBKDF2_HMAC_SHA256, 32);
    vec![
        bcrypt.format_for_version(bcrypt::Version::TwoA),
        bcrypt.format_for_version(bcrypt::Version::TwoB),
        bcrypt.format_for_version(bcrypt::Version::TwoY),
        format!("$scrypt$ln=10,r=8,p=1${salt}${}", encoded(&scrypt)),
        format!("$pbkdf2-sha256$i=1000,l=32${salt}${sha256}"),
        format!("$pbkdf2-sha256$1000${salt}${}", sha256.replace('+', ".")),
        format!("pbkdf2_sha256$1000$saltsalt${sha256}="),
        format!("$pbkdf2$1000${salt}${}", derived(pbkdf2::PBKDF2_HMAC_SHA1, 20)),
        format!("$pbkdf2-sha512$1000${salt}${}", derived(pbkdf2::PBKDF2_HMAC_SHA512, 64)),
        argon(argon2::Algorithm::Argon2id),
        argon(argon2::Algorithm::Argon2i),
        argon(argon2::Algorithm::Argon2d),
    ]
}

fn with_hash(email: &str, hash: &str) -> Value {
    json!({ "email": email, "password_hash": hash, "email_verified": true })
}

#[tokio::test]
async fn a_password_of_every_kind_signs_its_owner_in_and_is_one_of_ours_afterwards() {
    let tenant = fleet::shared().await.tenant().await;
    let stored = async |email: &str| {
        let sql = "SELECT data ->> 'hash' FROM freehold.credentials c JOIN freehold.users u ON u.id = c.user_id
              WHERE c.kind = 'password' AND email";
        tenant.database().value::<String>(&format!("{sql} = '{email}'")).await
    };
    let people: Vec<_> = hashes().into_iter().map(|hash| (format!("{}@example.com", unique("moved")), hash)).collect();
    let lines: Vec<_> = people.iter().map(|(email, hash)| with_hash(email, hash)).collect();
    assert_eq!(told(&import(&tenant.admin, &lines).await), vec!["created"; lines.len()]);
    for (email, hash) in &people {
        let wrong = json!({ "email": email, "password": format!("{OWN}!") });
        patiently(&tenant.anonymous(), "/v1/auth/login", &wrong).await.problem(401, "invalid_credentials");
        assert!(!stored(email).await.starts_with("$argon2id$v=19$m=19456"), "{hash}");
        signed_in(&tenant.anonymous(), email, OWN).await;
        assert!(stored(email).await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        signed_in(&tenant.anonymous(), email, OWN).await;
    }
}

#[tokio::test]
async fn each_line_stands_alone_and_an_import_can_be_repeated() {
    let tenant = fleet::shared().await.tenant().await;
    let gone = tenant.member("member").await;
    let (gone, email) = (id_of(&gone).await, gone.get("/v1/auth/me").await.member("email"));
    tenant.admin.delete(&format!("/v1/users/{gone}")).await.expect(204);
    let lines = [
        json!({ "email": "Ada@Example.com", "name": "Ada", "role": "viewer", "external_id": "42" }),
        json!({ "email": "ada@example.COM" }),
        json!({ "email": email }),
        json!({ "email": "ada" }),
        json!({ "name": "nobody" }),
        json!({ "email": "b@example.com", "role": "king" }),
        json!({ "email": "b@example.com", "password_hash": "5f4dcc3b5aa765d61d8327deb882cf99" }),
        json!({ "email": "b@example.com", "password_hash": "$2b$31$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui" }),
        json!({ "email": "b@example.com", "permissions": [] }),
        json!({ "email": "b@example.com", "external_id": "x".repeat(256) }),
        json!({ "email": "b@example.com", "name": "x\0" }),
        json!({ "email": "b@example.com", "active": false, "password_hash": hashes()[0], "email_verified": true }),
    ];
    let expected = [
        "created",
        "exists",
        "exists",
        "email invalid_email",
        "email required",
        "role unknown_role",
        "password_hash unknown_hash",
        "password_hash unknown_hash",
        "permissions unknown_field",
        "external_id too_long",
        "name invalid_format",
        "created",
    ];
    let count = async || tenant.database().value::<i64>("SELECT count(*) FROM freehold.users").await;
    let before = count().await;
    let tried = import_at(&tenant.admin, &format!("{IMPORT}?dry_run=true"), &lines).await;
    assert_eq!(told(&tried), expected);
    assert_eq!((count().await, tried.json()["results"][0]["id"].clone()), (before, Value::Null));
    let first = import(&tenant.admin, &lines).await;
    assert_eq!(told(&first), expected);
    let summary = first.json();
    for (name, number) in [("lines", 12), ("created", 2), ("existing", 2), ("refused", 8)] {
        assert_eq!(summary[name], number, "{summary}");
    }
    let results = &summary["results"];
    assert_eq!((&results[0]["external_id"], &results[1]["id"]), (&json!("42"), &results[0]["id"]));
    assert_eq!(results[2]["id"], json!(gone));
    let again = told(&import(&tenant.admin, &lines).await);
    assert_eq!((again[0].as_str(), again[11].as_str(), count().await), ("exists", "exists", before + 2));

    let ada = tenant.admin.get(&format!("/v1/users/{}", results[0]["id"].as_str().unwrap())).await.expect(200);
    let told = ["email", "name", "role", "active", "email_verified"].map(|name| ada[name].clone());
    assert_eq!(told, [json!("ada@example.com"), json!("Ada"), json!("viewer"), json!(true), json!(false)]);
    let id = results[11]["id"].as_str().unwrap();
    let other = tenant.admin.get(&format!("/v1/users/{id}")).await.expect(200);
    assert_eq!((&other["name"], &other["role"], &other["active"]), (&json!("b"), &json!("member"), &json!(false)));
    let events = tenant.admin.get("/v1/audit-events?action=user.imported").await.expect(200);
    assert_eq!(events["items"].as_array().unwrap().len(), 2);
    assert!(!events.to_string().contains("$2a$"), "{events}");
    let refused = json!({ "email": "b@example.com", "password": OWN });
    patiently(&tenant.anonymous(), "/v1/auth/login", &refused).await.problem(401, "invalid_credentials");
    // The deleted user is as before.
    assert!(!tenant.admin.get(&format!("/v1/users/{gone}")).await.expect(200)["deleted_at"].is_null());
}

#[tokio::test]
async fn nobody_imports_more_than_they_hold_or_without_a_young_proof() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let role = json!({ "name": "desk", "permissions": ["users:read", "users:write", "projects:read"] });
    tenant.admin.post("/v1/roles", &role).await.expect(201);
    let (admin, desk) = (tenant.member("admin").await, tenant.member("desk").await);
    let of = |role: &str| json!({ "email": format!("{}@example.com", unique(role)), "role": role });
    let lines = [of("owner"), of("admin"), of("member"), of("viewer"), of("desk")];
    let refused = "role exceeds_own_rights";
    let all = told(&import(&admin, &lines).await);
    assert_eq!(all, [refused, "created", "created", "created", "created"]);
    // What the example's viewers may read, the desk may not.
    let all = told(&import(&desk, &lines.map(|line| of(line["role"].as_str().unwrap()))).await);
    assert_eq!(all, [refused, refused, refused, refused, "created"]);
    tenant.member("member").await.post(IMPORT, &json!({})).await.problem(403, "forbidden");

    let key = json!({ "name": "ci", "scopes": ["users:write"] });
    let key = tenant.admin.post("/v1/api-keys", &key).await.expect(201)["key"].as_str().unwrap().to_owned();
    let program = fleet.replica.member(&tenant.slug, &key.into());
    import(&program, &[of("viewer")]).await.problem(403, "session_required");
    age_proofs(&tenant.database(), 16).await;
    let stale = import(&admin, &[of("viewer")]).await;
    assert_eq!((stale.status(), &stale.json()["code"]), (401, &json!("insufficient_user_authentication")));
    tenant.admin.post(IMPORT, &json!({ "email": "a@example.com" })).await.problem(415, "unsupported_media_type");
    import_at(&tenant.admin, &format!("{IMPORT}?force=1"), &[]).await.wrong_field("force", "unknown_field");
}

#[tokio::test]
async fn operators_import_with_any_role_and_both_logs_say_so() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let email = format!("{}@example.com", unique("owner"));
    let owner = json!({ "email": email, "role": "owner", "password_hash": hashes()[0], "email_verified": true });
    let answer = import_at(&fleet.operator(), &of_tenant(&tenant), std::slice::from_ref(&owner)).await;
    assert_eq!(told(&answer), ["created"]);
    let tokens = signed_in(&tenant.anonymous(), &email, OWN).await;
    let me = fleet.replica.member(&tenant.slug, &tokens["access_token"].as_str().unwrap().into());
    assert_eq!(me.get("/v1/auth/me").await.expect(200)["role"], "owner");
    let own = tenant.admin.get("/v1/audit-events?action=user.imported").await.expect(200);
    assert!(own["items"][0]["actor"].as_str().unwrap().starts_with("key_"), "{own}");
    let platform = format!("/platform/v1/audit-events?action=tenant.import_users&target={}", tenant.id);
    assert_eq!(fleet.patiently(&platform, 0).await["items"].as_array().unwrap().len(), 1);

    let member = fleet.operator_with_role("member").await;
    import_at(&member, &of_tenant(&tenant), &[]).await.problem(403, "forbidden");
    let nobody = "/platform/v1/tenants/ten_01900000000070008000000000000000/users/import";
    import_at(&fleet.operator(), nobody, &[]).await.problem(404, "not_found");
    let path = format!("/platform/v1/tenants/{}/suspend", tenant.id);
    fleet.operator().post(&path, &json!({ "reason": "a test" })).await.expect(200);
    import_at(&fleet.operator(), &of_tenant(&tenant), &[owner]).await.problem(403, "tenant_suspended");
}

#[tokio::test]
async fn thousands_come_in_one_body_and_too_many_are_refused() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let lines = |count: u32| (0..count).map(|n| json!({ "email": format!("p{n}@example.com") })).collect::<Vec<_>>();
    let summary = import(&tenant.admin, &lines(3_001)).await.expect(200);
    assert_eq!((&summary["created"], &summary["lines"]), (&json!(3_001), &json!(3_001)));
    let numbers = summary["results"].as_array().unwrap().iter().map(|result| result["line"].as_u64().unwrap());
    assert!(numbers.eq(1..=3_001));
    // Only announced: whoever still sends when the refusal comes may not get to read it.
    let mut stream = TcpStream::connect(fleet.replica.public_address()).await.unwrap();
    let head = format!(
        "POST {IMPORT} HTTP/1.1\r\nhost: {}.localhost\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        tenant.slug,
        tenant.admin.bearer().expose_secret(),
        64 * 1024 * 1024 + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("payload_too_large"), "{answer}");
}

/// A request whose body is sent piece by piece.
async fn begun(fleet: &Fleet, tenant: &Tenant<'_>, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(fleet.replica.public_address()).await.unwrap();
    let head = format!(
        "POST {IMPORT} HTTP/1.1\r\nhost: {}.localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
         content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n",
        tenant.slug
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

fn chunk(lines: impl Iterator<Item = u32>) -> String {
    let lines: Vec<_> = lines.map(|n| format!("{{\"email\":\"p{n}@example.com\"}}\n")).collect();
    let lines = lines.concat();
    format!("{:x}\r\n{lines}\r\n", lines.len())
}

#[tokio::test]
async fn whoever_loses_the_right_meanwhile_imports_nobody_more() {
    let fleet = fleet::shared().await;
    let tenant = fleet.tenant().await;
    let admin = tenant.member("admin").await;
    let mut sender = begun(fleet, &tenant, admin.bearer().expose_secret()).await;
    sender.write_all(chunk(0..200).as_bytes()).await.unwrap();
    let count = async || tenant.database().value::<i64>("SELECT count(*) FROM freehold.users").await;
    eventually("the first batch", async || (count().await == 202).then_some(())).await;
    let path = format!("/v1/users/{}", id_of(&admin).await);
    tenant.admin.patch(&path, &json!({ "role": "viewer" })).await.expect(200);
    sender.write_all(format!("{}0\r\n\r\n", chunk(200..400)).as_bytes()).await.unwrap();
    let mut answer = String::new();
    sender.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("\"forbidden\""), "{answer}");
    assert_eq!(count().await, 202);
}

/// Before a rollout: foreign hashes have no room in the table.
#[tokio::test]
async fn a_tenant_that_no_rollout_has_reached_takes_no_import_and_signs_in_as_before() {
    let fleet = fleet::alone().await;
    let tenant = fleet.tenant().await;
    let newest: i32 =
        fleet.control().value(&format!("SELECT freehold_version FROM tenants WHERE slug = '{}'", tenant.slug)).await;
    let version = async |number: i32| {
        let set = format!("UPDATE tenants SET freehold_version = {number} WHERE slug = '{}'", tenant.slug);
        fleet.control().run(&set).await;
    };
    version(3).await;
    let line = [json!({ "email": "a@example.com" })];
    eventually("the replica to know", async || (import(&tenant.admin, &line).await.status() == 503).then_some(()))
        .await;
    import(&tenant.admin, &line).await.problem(503, "tenant_schema_outdated");
    import_at(&fleet.operator(), &of_tenant(&tenant), &line).await.problem(503, "tenant_schema_outdated");
    tenant.anonymous().login(&tenant.admin_email, PASSWORD).await.expect(200);
    version(newest).await;
    let imported = async || (import(&tenant.admin, &line).await.status() == 200).then_some(());
    eventually("the replica to know", imported).await;
    tenant.erase().await;
}
