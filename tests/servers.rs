//! Registering servers: what is unfit is refused with its reason and left as it was; what is fit takes tenants.

use serde_json::{Value, json};

use crate::harness::{
    fleet::{self, Fleet},
    sql::Database,
    tenant::new_tenant,
    unique,
};

const SERVERS: &str = "/platform/v1/servers";

fn url(database: &Database, role: &str, password: &str) -> String {
    format!("postgres://{role}:{password}@127.0.0.1:{}/postgres?sslmode=disable", database.port())
}

fn named(name: &str, url: &str) -> Value {
    json!({ "name": name, "admin_url": url })
}

/// All that a registration writes, on both sides. The platform's server stands in for a new one: as a server of
/// tenants it is not registered.
async fn traces(fleet: &Fleet) -> (Vec<String>, Vec<String>) {
    let control = "SELECT 'servers' || count(*) FROM servers UNION ALL SELECT 'keys' || count(*) FROM data_keys
        UNION ALL SELECT 'secrets' || count(*) FROM secrets UNION ALL SELECT 'audit' || count(*) FROM audit_events";
    let server = "SELECT datname || coalesce(datacl::text, '') FROM pg_database
        UNION ALL SELECT rolname || rolcanlogin FROM pg_roles UNION ALL SELECT roleid::text || member FROM pg_auth_members
        ORDER BY 1";
    (fleet.control().values(control).await, fleet.on_platform_server("postgres").values(server).await)
}

/// A role beside the one that made the shared roles here: from PostgreSQL 16 on it has to be given rights over them.
async fn administrator(server: &Database, attributes: &str) -> (String, String) {
    let (role, password) = server.add_role(attributes).await;
    server.run(&format!("GRANT CONNECT ON DATABASE postgres TO {role}")).await;
    server.run(&format!("GRANT freehold_owner, freehold_tenant TO {role} WITH ADMIN OPTION")).await;
    (role, password)
}

/// Short of what the server's version asks for beside attributes: before PostgreSQL 16 a role has to inherit what it is
/// a member of; later each membership says so by itself, and it needs ADMIN OPTION over roles that others made.
async fn nearly_administrator(server: &Database) -> (String, String) {
    let (role, password) = administrator(server, "CREATEDB CREATEROLE NOINHERIT").await;
    if server.value("SELECT current_setting('server_version_num')::int >= 160000").await {
        server.run(&format!("REVOKE ADMIN OPTION FOR freehold_tenant FROM {role}")).await;
    }
    (role, password)
}

#[tokio::test]
async fn an_unfit_server_is_refused_and_left_as_it_was() {
    let fleet = fleet::alone().await;
    let server = fleet.on_platform_server("postgres");
    let mut attempts = Vec::new();
    for (attributes, code) in
        [("SUPERUSER", "superuser_refused"), ("CREATEROLE", "missing_right"), ("CREATEDB", "missing_right")]
    {
        let (role, password) = administrator(&server, attributes).await;
        attempts.push((url(&server, &role, &password), code));
    }
    let (role, password) = nearly_administrator(&server).await;
    attempts.push((url(&server, &role, &password), "missing_right"));
    let (role, password) = administrator(&server, "CREATEDB CREATEROLE").await;
    let good = url(&server, &role, &password);
    let port = server.port().to_string();
    attempts.extend([
        (url(&server, &role, "wrong"), "login_refused"),
        (url(&server, "nobody_of_that_name", &password), "login_refused"),
        (good.replace("/postgres?", "/nowhere?"), "database_not_found"),
        (good.replace(&port, "1"), "server_unreachable"),
        (good.replace("127.0.0.1", "no-such-host.invalid"), "server_unreachable"),
        (good.replace("?sslmode=disable", ""), "server_unreachable"),
        (good.replace("disable", "require"), "unsupported_sslmode"),
        (good.replace("postgres://", "mysql://"), "invalid_url"),
        (good.replace(&format!(":{password}"), ""), "invalid_url"),
        (format!("{good}&options=-cfoo"), "invalid_url"),
    ]);
    let before = traces(&fleet).await;
    for (url, code) in &attempts {
        let answer = fleet.operator().post(SERVERS, &named(&unique("unfit"), url)).await;
        answer.wrong_field("admin_url", code);
        assert!(!answer.text().contains(&password), "{}", answer.text());
    }
    let taken = fleet.operator().post(SERVERS, &named(&fleet.server, &good)).await;
    taken.problem(409, "server_name_taken");
    let same = good.replace(&port, &fleet.on_server("postgres").port().to_string());
    fleet.operator().post(SERVERS, &named(&unique("same"), &same)).await.problem(409, "server_registered");
    for (field, value, code) in [
        ("connection_budget", json!(0), "invalid_range"),
        ("connection_budget", json!(10_001), "invalid_range"),
        ("labels", json!({ "zone": 7 }), "invalid_type"),
        ("colour", json!("red"), "unknown_field"),
        ("name", json!("Not A Name"), "invalid_format"),
        ("name", json!(""), "invalid_format"),
        ("name", json!("ends-"), "invalid_format"),
        ("region", json!(""), "invalid_length"),
    ] {
        let mut body = named(&unique("unfit"), &good);
        body[field] = value;
        let answer = fleet.operator().post(SERVERS, &body).await;
        let wrong = answer.wrong_fields();
        assert!(wrong.len() == 1 && wrong[0].0.starts_with(field) && wrong[0].1 == code, "{field}: {wrong:?}");
    }
    assert_eq!(traces(&fleet).await, before);
}

#[tokio::test]
async fn a_fit_server_takes_tenants_and_keeps_its_credential_to_itself() {
    let fleet = fleet::alone().await;
    let admin_url = fleet.second_server_url();
    let body = json!({ "name": "second", "admin_url": admin_url, "region": "there", "labels": { "tier": "gold" },
        "connection_budget": 30, "warm_target": 0 });
    let answer = fleet.operator().post(SERVERS, &body).await;
    let server = answer.expect(201);
    assert_eq!(answer.header("location"), format!("{SERVERS}/{}", server["id"].as_str().unwrap()));
    assert_eq!(
        (&server["purpose"], &server["region"], &server["labels"]["tier"]),
        (&json!("tenants"), &json!("there"), &json!("gold"))
    );
    let alias = named("alias", &admin_url.replace("127.0.0.1", "localhost"));
    fleet.operator().post(SERVERS, &alias).await.problem(409, "server_registered");
    let shown = fleet.patiently(answer.header("location"), 0).await;
    assert_eq!((&shown["name"], &shown["connection_budget"]), (&json!("second"), &json!(30)));
    let listed = fleet.operator().get(SERVERS).await;
    assert_eq!(listed.expect(200)["items"].as_array().unwrap().len(), 3);
    let password = admin_url.split([':', '@']).nth(2).unwrap().to_owned();
    for text in [answer.text(), listed.text(), &shown.to_string()] {
        assert!(!text.contains(&password), "{text}");
    }
    let sealed: Vec<Vec<u8>> = fleet.control().values("SELECT sealed FROM secrets").await;
    let holds = |sealed: &Vec<u8>| sealed.windows(password.len()).any(|window| window == password.as_bytes());
    assert!(!sealed.iter().any(holds), "a credential lies open in the control database");
    let mut tenant = new_tenant(&unique("there"));
    tenant["region"] = json!("there");
    let made = fleet.create(&tenant).await.expect(201);
    assert_eq!(made["server"], "second");
    let name = made["id"].as_str().unwrap().replace("ten_", "tenant_");
    let count: i64 = fleet
        .on_platform_server("postgres")
        .value(&format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'"))
        .await;
    assert_eq!(count, 1);
    // Others go on to tenants' own server.
    fleet.control().run("UPDATE servers SET cordoned = true WHERE name = 'second'").await;
}
