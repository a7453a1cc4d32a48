//! How what is done within one request, or one sweep of the janitor, is asked for, and how often it was done.

use freehold::types::{Clock, Random, TenantId};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::subject::{self, Asked};
use crate::harness::{
    actors::{Caller, Operator},
    fleet::Fleet,
    tenant::new_tenant,
    unique,
};

/// Something that is done outside of the steps of operations.
#[derive(Debug)]
pub(super) struct Request {
    /// What the names of its points begin with.
    pub(super) name: &'static str,
    asks: Asks,
    /// Whether asking again does it again.
    pub(super) repeats: bool,
}

/// How it is asked for.
#[derive(Debug)]
enum Asks {
    /// By a request for a tenant, under an `Idempotency-Key`.
    Creation,
    /// By a request of this action, after others, of a tenant.
    Action(&'static [&'static str], &'static str),
    /// By a request for a tenant like another one, under an `Idempotency-Key`.
    Copy,
    /// By a request that a database become a tenant's, under an `Idempotency-Key`.
    Adoption,
    /// By another name for a tenant.
    Patch,
    /// By a request of the server's.
    Server,
    /// By nobody: after these actions, this makes it due for the janitor.
    Due(&'static [&'static str], &'static str),
    /// By nobody: a row of a warm database that no operation works on, which this makes old enough for the janitor.
    Stray(&'static str),
}

use Asks::{Action, Adoption, Copy, Creation, Due, Patch, Server, Stray};

/// By hand, and long ago: the trigger would say that it was now.
const LOSE_SLUG: &str = "SET session_replication_role = replica; DELETE FROM slugs WHERE tenant_id = '{}';
                         UPDATE tenants SET updated_at = now() - interval '1 hour' WHERE id = '{}'";

const REQUESTS: [Request; 18] = [
    once("tenant.provision", Creation),
    once("tenant.clone", Copy),
    once("tenant.adopt", Adoption),
    once("tenant.archive", Action(&[], "archive")),
    once("tenant.restore", Action(&["archive"], "restore")),
    once("tenant.update", Patch),
    once("tenant.suspend", Action(&[], "suspend")),
    once("tenant.resume", Action(&["suspend"], "resume")),
    once("tenant.delete", Action(&[], "delete")),
    once("tenant.undelete", Action(&["delete"], "undelete")),
    once("tenant.rehearse", Action(&[], "rehearse")),
    once("tenant.rotate_credentials", Action(&[], "rotate-credentials")),
    Request { repeats: true, ..once("tenant.rotate_signing_keys", Action(&[], "rotate-signing-keys")) },
    Request { repeats: true, ..once("server.rotate_credentials", Server) },
    once("janitor.erase", Due(&["delete"], "UPDATE tenants SET erase_after = now() WHERE id = '{}'")),
    once("janitor.undelete", Due(&["delete"], "UPDATE tenants SET erase_after = NULL WHERE id = '{}'")),
    once("janitor.mend_slug", Due(&[], LOSE_SLUG)),
    once("janitor.clear", Stray("UPDATE warm_databases SET created_at = now() - interval '1 hour' WHERE id = '{}'")),
];

const fn once(name: &'static str, asks: Asks) -> Request {
    Request { name, asks, repeats: false }
}

/// What something is asked of.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The tenant's id, or the server's in place of it; none while there is no tenant yet.
    pub(super) id: Option<String>,
    slug: String,
}

impl Request {
    /// The one whose points' names begin so.
    pub(super) fn of(name: &str) -> &'static Self {
        REQUESTS.iter().find(|request| request.name == name).unwrap_or_else(|| panic!("nobody asks for {name} here"))
    }

    /// Whether the janitor does it by itself.
    pub(super) const fn is_chore(&self) -> bool {
        matches!(self.asks, Due(..) | Stray(..))
    }

    /// Whether two of them get into each other's way: a sweep is of all that is due, and there is one server.
    pub(super) const fn is_solitary(&self) -> bool {
        self.is_chore() || matches!(self.asks, Server)
    }

    /// One that it can be asked of, once the operations that make it so have ended.
    async fn target(&self, fleet: &Fleet) -> Target {
        match self.asks {
            Creation => Target { id: None, slug: unique("crash") },
            Adoption => {
                let slug = unique("crash");
                crate::adoption::foreign(fleet, &slug).await;
                Target { id: None, slug }
            }
            Stray(..) => stray(fleet).await,
            Server => Target { id: Some(server(fleet).await), slug: String::new() },
            Copy | Patch | Action(..) | Due(..) => {
                let Asked { tenant, slug, .. } = subject::create(fleet).await;
                Target { id: Some(tenant), slug }
            }
        }
    }

    /// What has to be asked of the target before.
    const fn before(&self) -> &'static [&'static str] {
        match self.asks {
            Action(before, _) | Due(before, _) => before,
            Creation | Adoption | Copy | Patch | Server | Stray(..) => &[],
        }
    }

    /// Makes it due, where nobody asks for it.
    pub(super) async fn make_due(&self, fleet: &Fleet, target: &Target) {
        if let Due(_, sql) | Stray(sql) = self.asks {
            fleet.control().run(&sql.replace("{}", target.uuid())).await;
        }
    }

    /// The request for it, of one replica.
    pub(super) fn to(&self, operator: &Operator, target: &Target) -> RequestBuilder {
        match self.asks {
            Creation => {
                let request = operator.request(Method::POST, "/platform/v1/tenants").json(&new_tenant(&target.slug));
                request.header("idempotency-key", &target.slug)
            }
            Copy => {
                let path = format!("/platform/v1/tenants/{}/clone", target.id.as_ref().unwrap());
                let body = json!({ "slug": format!("{}-copy", target.slug), "name": "A copy" });
                operator.request(Method::POST, &path).json(&body).header("idempotency-key", &target.slug)
            }
            Adoption => {
                let body = crate::adoption::wanted(&target.slug);
                let request = operator.request(Method::POST, "/platform/v1/adoptions").json(&body);
                request.header("idempotency-key", &target.slug)
            }
            Action(_, action) => act(operator, target, action),
            Patch => {
                let path = format!("/platform/v1/tenants/{}", target.id.as_ref().unwrap());
                operator.request(Method::PATCH, &path).json(&json!({ "name": "Another name" }))
            }
            Server => {
                let path = format!("/platform/v1/servers/{}/rotate-credentials", target.id.as_ref().unwrap());
                operator.request(Method::POST, &path).json(&json!({}))
            }
            Due(..) | Stray(..) => panic!("nobody asks for {}", self.name),
        }
    }

    /// How often it was done.
    pub(super) async fn effects(&self, fleet: &Fleet, target: &Target) -> i64 {
        let sql = match self.name {
            // Nothing else is made of what was called for before.
            "janitor.undelete" => {
                format!("SELECT count(*) FROM tenants WHERE state = 'active' AND id = '{}'", target.uuid())
            }
            "tenant.provision" | "tenant.adopt" => {
                format!("SELECT count(*) FROM tenants WHERE slug = '{}'", target.slug)
            }
            name => {
                let action = if name == "janitor.erase" { "tenant.erase" } else { name };
                let id = target.id.as_ref().unwrap();
                format!("SELECT count(*) FROM audit_events WHERE action = '{action}' AND target = '{id}'")
            }
        };
        fleet.control().value(&sql).await
    }
}

/// Makes what each of these can be asked of.
pub(super) async fn prepare(fleet: &Fleet, requests: &[&Request]) -> Vec<Target> {
    let mut targets = Vec::new();
    for request in requests {
        targets.push(request.target(fleet).await);
    }
    subject::work_off(fleet).await;
    for (request, target) in requests.iter().zip(&targets) {
        for action in request.before() {
            let answer = act(&fleet.operator(), target, action).send().await.unwrap();
            assert!(answer.status().is_success(), "{action}: {}", answer.text().await.unwrap());
        }
    }
    subject::work_off(fleet).await;
    targets
}

impl Target {
    /// The id without its prefix.
    pub(super) fn uuid(&self) -> &str {
        self.id.as_ref().unwrap().split_once('_').unwrap().1
    }
}

fn act(operator: &Caller, target: &Target, action: &str) -> RequestBuilder {
    let body: Value = match action {
        "suspend" => json!({ "reason": "unpaid" }),
        "delete" => json!({ "confirm": target.slug }),
        _ => json!({}),
    };
    let path = format!("/platform/v1/tenants/{}/{action}", target.id.as_ref().unwrap());
    operator.request(Method::POST, &path).json(&body)
}

/// A warm database that is being made by nobody, and not for long enough yet for anybody to care.
async fn stray(fleet: &Fleet) -> Target {
    let id = TenantId::generate(&Clock::default(), Random);
    let sql = format!(
        "INSERT INTO warm_databases (id, server_id, template, freehold_version, schema_version, created_at)
         SELECT '{}', id, 'none', 1, 1, now() + interval '1 day' FROM servers WHERE name = '{}'",
        id.uuid(),
        fleet.server
    );
    fleet.control().run(&sql).await;
    Target { id: Some(id.to_string()), slug: String::new() }
}

async fn server(fleet: &Fleet) -> String {
    let sql = format!("SELECT 'srv_' || replace(id::text, '-', '') FROM servers WHERE name = '{}'", fleet.server);
    fleet.control().value(&sql).await
}
