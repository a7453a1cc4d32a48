//! Clusters that are made once: every Freehold of the tests begins with a copy of them instead of its own `initdb`.
//!
//! How clusters are made from nothing is what `dev_launcher` looks at.

use std::{fs, path::Path, process::Command};

use freehold::cli::dev::environment;
use tokio::sync::OnceCell;

use super::{fleet::RUNTIME, folder::Folder};

/// Makes clusters in `folder`, as they are when they were started and stopped once. Their ports are still open.
pub(crate) async fn lay_out(folder: &Path) {
    static MADE: OnceCell<Folder> = OnceCell::const_new();
    let made = MADE.get_or_init(async || RUNTIME.spawn(make()).await.unwrap()).await;
    let mut copying = Command::new("cp");
    copying.arg("-a");
    for cluster in fs::read_dir(made.path()).unwrap() {
        copying.arg(cluster.unwrap().path());
    }
    fs::create_dir_all(folder).unwrap();
    let copied = copying.arg(folder).status().unwrap();
    assert!(copied.success(), "cp: {copied}");
}

async fn make() -> Folder {
    let folder = Folder::new("clusters");
    let environment = environment::start(folder.path(), false).await.unwrap();
    let data = [environment.control.data_dir(), environment.server.data_dir()];
    environment.stop().await.unwrap();
    let clusters = data.each_ref().map(|data| data.parent().unwrap());
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !clusters.contains(&&*path) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.unwrap();
        }
    }
    for cluster in clusters {
        // Each copy takes a port of its own.
        fs::remove_file(cluster.join("port")).unwrap();
        fs::remove_dir_all(cluster.join("log")).unwrap();
    }
    folder
}
