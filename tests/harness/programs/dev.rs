//! `freehold dev` in a folder of its own, and further replicas over its servers.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, NoTls};

use super::{Program, Variables, program::FREEHOLD};
use crate::harness::{actors::Caller, clusters, eventually_within, folder::Folder, pool::note_wait, postgres};

/// The contract says 10 s on an idle machine; this one may be busy.
const READY: Duration = Duration::from_mins(2);

/// A `freehold dev` with its servers.
pub(crate) struct Dev {
    // In the order in which they end: the program, then all that it started.
    program: Program,
    about: Value,
    binary: PathBuf,
    variables: Variables,
    folder: Folder,
    _room: OwnedSemaphorePermit,
}

/// A further replica.
pub(crate) struct Replica {
    pub(crate) program: Program,
    pub(crate) public: Caller,
    admin: Caller,
    operator_key: SecretString,
}

impl Replica {
    /// The first operator, asking this replica.
    pub(crate) fn operator(&self) -> Caller {
        self.admin.with(&self.operator_key)
    }
}

impl Dev {
    /// Starts one once there is room: two at once are all that a small machine bears.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with some settings changed, named without their prefix.
    pub(crate) async fn start_with(changes: &[(&str, &str)]) -> Self {
        Self::start_of(FREEHOLD.as_ref(), changes).await
    }

    /// The same of another product's program.
    pub(crate) async fn start_of(binary: &Path, changes: &[(&str, &str)]) -> Self {
        static ROOM: OnceCell<Arc<Semaphore>> = OnceCell::const_new();
        let room = ROOM.get_or_init(async || Arc::new(Semaphore::new(2))).await;
        let asked = Instant::now();
        let room = Arc::clone(room).acquire_owned().await.unwrap();
        note_wait("freehold dev", asked.elapsed());
        let mut variables = Variables::new();
        let settings = [
            ("PUBLIC_LISTEN", "127.0.0.1:0"),
            ("ADMIN_LISTEN", "127.0.0.1:0"),
            ("LOG", "warn"),
            // What is killed is to be a tenant in the making, and nothing else to come and go.
            ("WARM_MIN", "0"),
            ("WARM_MAX", "0"),
            ("FSCK_INTERVAL_SECONDS", "0"),
            ("ISOLATION_INTERVAL_SECONDS", "0"),
            ("DRIFT_INTERVAL_SECONDS", "0"),
        ];
        for (name, value) in settings.into_iter().chain(changes.iter().copied()) {
            variables.insert(format!("FREEHOLD_{name}"), value.to_owned());
        }
        let folder = Folder::new("process");
        clusters::lay_out(&folder.path().join("data")).await;
        let binary = binary.to_owned();
        let program = launch(&binary, folder.path(), &variables);
        let mut dev = Self { program, about: Value::Null, binary, variables, folder, _room: room };
        dev.ready().await;
        postgres::version(&dev.server().await).await;
        dev
    }

    /// The one that tests share which leave it as they found it. It ends with the last of all tests.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Dev> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Starts it again over what its end has left.
    pub(crate) async fn start_again(&mut self) {
        self.program = launch(&self.binary, self.folder.path(), &self.variables);
        self.ready().await;
    }

    /// `dev.json` is written when everything is ready; an earlier run's names another process.
    async fn ready(&mut self) {
        let path = self.data().join("dev.json");
        let program = &mut self.program;
        self.about = eventually_within("freehold dev is ready", READY, async || {
            program.assert_alive();
            let about: Value = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            (about["pids"]["freehold"] == program.pid()).then_some(about)
        })
        .await;
    }

    pub(crate) fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// The variables that it was started with.
    pub(crate) fn settings(&self) -> Variables {
        self.variables.clone()
    }

    /// What `dev.json` says.
    pub(crate) fn about(&self) -> &Value {
        &self.about
    }

    /// A text of `dev.json`, by its JSON pointer.
    pub(crate) fn told(&self, pointer: &str) -> &str {
        self.about.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("dev.json has no {pointer}"))
    }

    /// The process that `dev.json` tells under `name`.
    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.about["pids"][name].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap()
    }

    /// Where programs are run, and where their logs are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What was given as `--folder`.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The first operator.
    pub(crate) fn operator(&self) -> Caller {
        Caller::at_url(self.told("/admin_url")).with(&self.told("/operator/api_key").into())
    }

    /// Nobody in particular, at the public listener.
    pub(crate) fn public(&self) -> Caller {
        Caller::at_url(self.told("/public_url"))
    }

    /// The administrator of a demo tenant, signed in at this replica.
    pub(crate) async fn admin_of(&self, slug: &str) -> Caller {
        self.sign_in(&self.public(), slug).await
    }

    /// The administrator of a demo tenant, signed in through `public`.
    pub(crate) async fn sign_in(&self, public: &Caller, slug: &str) -> Caller {
        let tenants = self.about["tenants"].as_array().unwrap();
        let tenant = tenants.iter().find(|tenant| tenant["slug"] == slug).unwrap();
        let text = |name: &str| tenant[name].as_str().unwrap();
        public.at(slug).sign_in(text("admin_email"), text("admin_password")).await
    }

    /// A session in the control database.
    pub(crate) async fn control(&self) -> Client {
        connect(self.told("/control/database_url")).await
    }

    /// A superuser's session on the tenant server.
    pub(crate) async fn server(&self) -> Client {
        connect(self.told("/servers/0/superuser_url")).await
    }

    /// What `dev.env` says: for clients and further replicas.
    pub(crate) fn dev_env(&self) -> Variables {
        let text = fs::read_to_string(self.data().join("dev.env")).unwrap();
        let line = |line: &str| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), value.trim_matches('\'').to_owned())
        };
        text.lines().map(line).collect()
    }

    /// Starts a further replica and waits until it is ready.
    pub(crate) async fn replica(&self, name: &str) -> Replica {
        let (public, admin) = free_addresses();
        let mut variables = self.dev_env();
        for (setting, value) in [("PUBLIC_LISTEN", &public), ("ADMIN_LISTEN", &admin), ("REPLICA", &name.to_owned())] {
            variables.insert(format!("FREEHOLD_{setting}"), value.clone());
        }
        let mut program = Program::start_as(&self.binary, self.folder(), name, &["serve"], &variables);
        let admin = Caller::at_url(&format!("http://{admin}"));
        eventually_within("the replica is ready", READY, async || {
            program.assert_alive();
            admin.try_get("/health/ready").await.ok().filter(|answer| answer.json()["status"] == "ready")
        })
        .await;
        let operator_key = self.told("/operator/api_key").into();
        Replica { program, public: Caller::at_url(&format!("http://{public}")), admin, operator_key }
    }
}

fn launch(binary: &Path, folder: &Path, variables: &Variables) -> Program {
    Program::start_as(binary, folder, "dev", &["dev", "--folder", "data"], variables)
}

/// Two addresses that were free a moment ago.
pub(crate) fn free_addresses() -> (String, String) {
    let [public, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    (public.local_addr().unwrap().to_string(), admin.local_addr().unwrap().to_string())
}

/// A session in a database, for looking.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
