//! A tenant of a test's own, and its people.

use freehold::{
    config::parse_keys,
    control::{
        data_keys, sealed,
        sealing::KeyRing,
        secrets::{self, Purpose},
    },
    types::TenantId,
};
use jsonwebtoken::{EncodingKey, Header};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde_json::{Value, json};
use sqlx::Connection;

use super::{
    PASSWORD,
    actors::{Anonymous, Member},
    answer::Answer,
    eventually,
    fleet::Fleet,
    replica::Replica,
    sql::Database,
    unique,
};

/// An active tenant with an administrator who can sign in.
#[derive(Clone)]
pub(crate) struct Tenant<'a> {
    /// Its public name.
    pub(crate) slug: String,
    /// `ten_…`.
    pub(crate) id: String,
    /// The address of its first administrator; the password is [`PASSWORD`].
    pub(crate) admin_email: String,
    /// The access token of its first administrator.
    pub(crate) admin: Member,
    fleet: &'a Fleet,
}

/// What makes a tenant of this name.
pub(crate) fn new_tenant(slug: &str) -> Value {
    let admin = json!({ "email": format!("admin@{slug}.example.com"), "password": PASSWORD });
    json!({ "slug": slug, "name": "A tenant", "admin": admin })
}

impl Fleet {
    /// A new tenant.
    pub(crate) async fn tenant(&self) -> Tenant<'_> {
        self.tenant_from(&new_tenant(&unique("tenant"))).await
    }

    /// A new tenant as `body` describes it.
    pub(crate) async fn tenant_from(&self, body: &Value) -> Tenant<'_> {
        self.tenant_through(&self.replica, body).await
    }

    /// A new tenant as `body` describes it, whose administrator signs in at this replica.
    pub(crate) async fn tenant_through(&self, replica: &Replica, body: &Value) -> Tenant<'_> {
        let created = self.create(body).await;
        assert!(matches!(created.status(), 201 | 202), "{}", created.text());
        let created = created.json();
        self.finished(created["operation_id"].as_str().unwrap()).await;
        let (slug, id) = (created["slug"].as_str().unwrap(), created["id"].as_str().unwrap());
        let admin_email = body["admin"]["email"].as_str().unwrap();
        let admin = sign_in(replica, slug, admin_email).await;
        Tenant { slug: slug.into(), id: id.into(), admin_email: admin_email.into(), admin, fleet: self }
    }

    /// Asks for a tenant and waits for it.
    pub(crate) async fn create(&self, body: &Value) -> Answer {
        let request = self.operator().request(reqwest::Method::POST, "/platform/v1/tenants");
        Answer::to(request.header("prefer", "wait=10").json(body)).await
    }

    /// What an operator reads there, who waits up to `wait` seconds for its end. Told to come back later, they do.
    pub(crate) async fn patiently(&self, path: &str, wait: u8) -> Value {
        for _ in 0..30 {
            let request = self.operator().request(reqwest::Method::GET, path);
            let request = request.header("prefer", format!("wait={wait}"));
            let answer = Answer::to(request).await;
            if answer.status() != 503 {
                return answer.expect(200);
            }
            // Everything at once is a lot for a small machine.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        panic!("{path} is never answered");
    }

    /// The operation once it has succeeded.
    pub(crate) async fn finished(&self, operation: &str) -> Value {
        for _ in 0..6 {
            let operation = self.patiently(&format!("/platform/v1/operations/{operation}"), 10).await;
            match operation["state"].as_str().unwrap() {
                "succeeded" => return operation,
                "queued" | "running" => {}
                other => panic!("{other}: {operation}"),
            }
        }
        panic!("{operation} does not end");
    }

    /// The key that signs a tenant's tokens now, and its name: for tokens that Freehold would never make.
    pub(crate) async fn signing_key(&self, tenant: &str) -> (String, EncodingKey) {
        let (mut connection, ring) = self.vault().await;
        let sealed = sealed::read(&mut connection, &[tenant.parse().unwrap()]).await.unwrap().pop().unwrap();
        let key = sealed.signing_keys.iter().rfind(|key| key.signs_from <= 0.0).unwrap();
        let pkcs8 = sealed.open_signing_key(&ring, key).unwrap();
        (key.id.to_string(), EncodingKey::from_ed_der(pkcs8.expose_secret()))
    }

    /// The password of a tenant's own database role.
    pub(crate) async fn database_password(&self, tenant: &str) -> SecretString {
        let (mut connection, ring) = self.vault().await;
        let tenant: TenantId = tenant.parse().unwrap();
        secrets::require(&mut connection, &ring, tenant.uuid(), Purpose::TenantDatabasePassword).await.unwrap()
    }

    /// Stores another password of the tenant's role, and tells nobody.
    pub(crate) async fn replace_database_password(&self, tenant: &str, password: &SecretString) {
        let (mut connection, ring) = self.vault().await;
        let owner = tenant.parse::<TenantId>().unwrap().uuid();
        let key = data_keys::get(&mut connection, &ring, owner).await.unwrap();
        secrets::put(&mut connection, &key, owner, Purpose::TenantDatabasePassword, password).await.unwrap();
    }

    /// The control database with the keys to what is sealed in it.
    async fn vault(&self) -> (sqlx::PgConnection, KeyRing) {
        let keys = parse_keys(self.setting("FREEHOLD_KEY_ENCRYPTION_KEYS")).unwrap();
        let keys = keys.into_iter().map(|key| (key.id, SecretBox::new(Box::new(*key.key.expose_secret()))));
        let connection = sqlx::PgConnection::connect(self.setting("FREEHOLD_CONTROL_URL")).await.unwrap();
        (connection, KeyRing::new(keys).unwrap())
    }

    /// `token` with changed claims, signed again with the key of the tenant that it belongs to.
    pub(crate) async fn resign(&self, token: &SecretString, change: impl FnOnce(&mut Value)) -> SecretString {
        let mut claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(token.expose_secret()).unwrap();
        let (kid, key) = self.signing_key(claims["tid"].as_str().unwrap()).await;
        change(&mut claims);
        let mut header = Header::new(jsonwebtoken::Algorithm::EdDSA);
        (header.typ, header.kid) = (Some("at+jwt".to_owned()), Some(kid));
        jsonwebtoken::encode(&header, &claims, &key).unwrap().into()
    }

    /// `token` as it would be an hour after it has expired.
    pub(crate) async fn expired(&self, token: &SecretString) -> SecretString {
        self.resign(token, |claims| {
            for name in ["exp", "iat", "nbf"] {
                claims[name] = json!(claims[name].as_i64().unwrap() - 4_200);
            }
        })
        .await
    }
}

impl Tenant<'_> {
    /// Somebody unknown at the tenant's host.
    pub(crate) fn anonymous(&self) -> Anonymous {
        self.fleet.replica.anonymous(&self.slug)
    }

    /// A new member with the role `role`, signed in.
    pub(crate) async fn member(&self, role: &str) -> Member {
        let email = format!("{}@example.com", unique(role));
        self.database().add_user(&self.admin_email, &email, role).await;
        sign_in(&self.fleet.replica, &self.slug, &email).await
    }

    /// Its database, with a superuser's eyes.
    pub(crate) fn database(&self) -> Database {
        self.fleet.on_server(&self.database_name())
    }

    /// The name of its database and of its role.
    pub(crate) fn database_name(&self) -> String {
        self.id.replace("ten_", "tenant_")
    }

    /// Erases it: for what no check may find on a Freehold that other tests get too.
    pub(crate) async fn erase(&self) {
        let confirmed = json!({ "confirm": self.slug, "erase": true });
        let path = format!("/platform/v1/tenants/{}/delete", self.id);
        let erased = self.fleet.operator().post(&path, &confirmed).await.expect(202);
        self.fleet.finished(erased["operation_id"].as_str().unwrap()).await;
    }

    /// The tokens of a new session of the first administrator.
    pub(crate) async fn login(&self) -> Value {
        tokens(&self.anonymous(), &self.admin_email).await
    }
}

/// The tokens of a new session. Whoever tests a flood of passwords on the same Freehold keeps others waiting for a while.
async fn tokens(anonymous: &Anonymous, email: &str) -> Value {
    eventually("a turn among the passwords", async || {
        let answer = anonymous.login(email, PASSWORD).await;
        let is_busy = answer.status() == 503 && answer.json()["code"] == "hashing_busy";
        (!is_busy).then_some(answer)
    })
    .await
    .expect(200)
}

async fn sign_in(replica: &Replica, slug: &str, email: &str) -> Member {
    let tokens = tokens(&replica.anonymous(slug), email).await;
    replica.member(slug, &tokens["access_token"].as_str().unwrap().into())
}

/// Ends every session of the tenants' own roles.
pub(crate) async fn end_sessions(fleet: &Fleet, tenants: &[Tenant<'_>]) {
    let names: Vec<_> = tenants.iter().map(|tenant| format!("'{}'", tenant.database_name())).collect();
    let whose = format!("FROM pg_stat_activity WHERE usename IN ({})", names.join(", "));
    let server = fleet.on_server("postgres");
    server.value::<i64>(&format!("SELECT count(pg_terminate_backend(pid)) {whose}")).await;
    eventually("the sessions to end", async || {
        (server.value::<i64>(&format!("SELECT count(*) {whose}")).await == 0).then_some(())
    })
    .await;
}
