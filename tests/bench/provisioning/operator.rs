//! What the measurements ask the program and its servers for.

use reqwest::{Method, RequestBuilder};
use tokio_postgres::Client;

use crate::subject::{Subject, connect};

impl Subject {
    /// A request of the first operator.
    pub(crate) fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let url = format!("{}{path}", self.told("/admin_url")?);
        Ok(self.http.request(method, url).bearer_auth(self.told("/operator/api_key")?))
    }

    /// The metrics of the program, in Prometheus' format.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        Ok(self.request(Method::GET, "/metrics")?.send().await?.error_for_status()?.text().await?)
    }

    /// The id of the server that tenants live on.
    pub(crate) fn server_id(&self) -> anyhow::Result<&str> {
        self.told("/servers/0/id")
    }

    /// A session in the control database, to read from its clock how long operations took.
    pub(crate) async fn control(&self) -> anyhow::Result<Client> {
        connect(self.told("/control/database_url")?).await
    }

    /// A session on the tenants' server, as the role that Freehold works with.
    pub(crate) async fn server(&self) -> anyhow::Result<Client> {
        connect(self.told("/servers/0/admin_url")?).await
    }
}
