//! Where keys come from: the system's keychain, the environment, or a private file.
//!
//! A key of the keychain is bound to the host that it first served; another host is refused
//! until `tidegate key allow NAME HOST`. No key is ever written by us anywhere but into the keychain.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub use gateway::secret::Secret;
use gateway::{BoxFuture, KeyUnavailable};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::folder::{self, FolderError};
use crate::settings::{BaseUrl, KeyRef};

/// Under this name keys lie in the keychain.
const SERVICE: &str = "tidegate";
/// A keychain that asks its user something and gets no answer must not hold calls for ever.
const PATIENCE: Duration = Duration::from_secs(10);
const BINDINGS: &str = "keys.json";

#[derive(Debug, Error)]
pub enum KeyError {
    #[error(
        "this system has no keychain that answers ({status}): start one such as gnome-keyring, or use key = \"env:VAR\" or \"file:PATH\" in the settings"
    )]
    NoKeychain { status: String },
    #[error("the keychain is locked: unlock it and try again")]
    Locked,
    #[error("the keychain has no key {name}, or is locked: run `tidegate key set {name}`")]
    Missing { name: String },
    #[error("the keychain did not answer within 10 s: unlock it and try again")]
    Silent,
    #[error("the keychain did not keep the key {name}: it may be locked; unlock it and try again")]
    NotKept { name: String },
    #[error("the keychain failed: {reason}")]
    Failed { reason: String },
    #[error(
        "the key {name} is bound to {bound}: if {origin} shall have it too, run `tidegate key allow {name} {origin}`"
    )]
    OtherHost { name: String, bound: String, origin: String },
    #[error("the environment has no variable {variable}: set it where Tidegate is started")]
    NoVariable { variable: String },
    #[error("the key file {} can't be read ({reason})", file.display())]
    NoFile { file: PathBuf, reason: std::io::Error },
    #[error("others may read the key file {} (mode {mode:04o}): run chmod 600 on it", file.display())]
    OpenFile { file: PathBuf, mode: u32 },
    #[error("the key from {reference} is empty or has characters that no header may carry")]
    NoKey { reference: String },
    #[error("{host} is no host of an API, such as https://api.anthropic.com: {reason}")]
    NoHost { host: String, reason: &'static str },
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// Something that keeps secrets by name. Its calls may block for as long as a person thinks.
pub trait Store: Send + 'static {
    fn read(&self, name: &str) -> Result<String, KeyError>;
    fn write(&self, name: &str, secret: &str) -> Result<(), KeyError>;
    fn remove(&self, name: &str) -> Result<(), KeyError>;
}

/// The system's own.
pub struct SystemStore;

impl SystemStore {
    fn entry(name: &str) -> Result<keyring::Entry, KeyError> {
        keyring::Entry::new(SERVICE, name).map_err(|error| said(name, &error))
    }
}

impl Store for SystemStore {
    fn read(&self, name: &str) -> Result<String, KeyError> {
        Self::entry(name)?.get_password().map_err(|error| said(name, &error))
    }

    fn write(&self, name: &str, secret: &str) -> Result<(), KeyError> {
        Self::entry(name)?.set_password(secret).map_err(|error| said(name, &error))
    }

    fn remove(&self, name: &str) -> Result<(), KeyError> {
        Self::entry(name)?.delete_credential().map_err(|error| said(name, &error))
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds variants; all others are said in its own words")]
fn said(name: &str, error: &keyring::Error) -> KeyError {
    match error {
        keyring::Error::NoDefaultStore => {
            let status = keyring::Entry::store_status().as_ref().err();
            KeyError::NoKeychain { status: status.map_or_else(|| error.to_string(), ToString::to_string) }
        }
        keyring::Error::NoStorageAccess(_) => KeyError::Locked,
        keyring::Error::NoEntry => KeyError::Missing { name: name.to_owned() },
        other => KeyError::Failed { reason: other.to_string() },
    }
}

type Work = Box<dyn FnOnce(&dyn Store) + Send>;

/// Keys, and which hosts may have them.
pub struct Keychain {
    dir: PathBuf,
    store: Mutex<Option<Box<dyn Store>>>,
    worker: OnceLock<std::sync::mpsc::Sender<Work>>,
    patience: Duration,
    /// By reference and origin, as they were asked for.
    cache: Mutex<HashMap<(String, String), Arc<Secret>>>,
    /// Held while the bindings are changed: none may overwrite another.
    changing: Mutex<()>,
}

/// `DIR/keys.json`: names and hosts, never keys.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Bindings {
    keys: BTreeMap<String, Vec<String>>,
}

/// A key as `key list` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyView {
    pub name: String,
    /// Null where the key is too short to show any of it, or the keychain does not give it; then `trouble` says why.
    pub last_four: Option<String>,
    pub trouble: Option<String>,
    /// The hosts that may have it; empty before its first use.
    pub hosts: Vec<String>,
}

impl Keychain {
    pub fn of_system(dir: &Path) -> Keychain {
        Keychain::new(dir, Box::new(SystemStore))
    }

    pub fn new(dir: &Path, store: Box<dyn Store>) -> Keychain {
        Keychain {
            dir: dir.to_owned(),
            store: Mutex::new(Some(store)),
            worker: OnceLock::new(),
            patience: PATIENCE,
            cache: Mutex::default(),
            changing: Mutex::default(),
        }
    }

    /// A key for use towards one origin alone.
    pub async fn key(&self, reference: &KeyRef, origin: &str) -> Result<Arc<Secret>, KeyError> {
        let place = (reference.to_string(), origin.to_owned());
        if let Some(secret) = lock(&self.cache).get(&place) {
            return Ok(secret.clone());
        }
        let secret = match reference {
            KeyRef::Keychain(name) => self.bound_key(name, origin).await?,
            KeyRef::Env(variable) => from_environment(variable)?,
            KeyRef::File(path) => from_file(path)?,
        };
        let secret = Arc::new(usable(secret, reference)?);
        lock(&self.cache).insert(place, secret.clone());
        Ok(secret)
    }

    async fn bound_key(&self, name: &str, origin: &str) -> Result<String, KeyError> {
        self.check_binding(name, origin)?;
        let secret = self.read(name).await?;
        self.bind(name, origin)?;
        Ok(secret)
    }

    fn check_binding(&self, name: &str, origin: &str) -> Result<(), KeyError> {
        match self.bindings()?.keys.get(name).map(Vec::as_slice) {
            None | Some([]) => Ok(()),
            Some(hosts) if hosts.iter().any(|host| host == origin) => Ok(()),
            Some(hosts) => {
                Err(KeyError::OtherHost { name: name.to_owned(), bound: hosts.join(", "), origin: origin.to_owned() })
            }
        }
    }

    fn bind(&self, name: &str, origin: &str) -> Result<(), KeyError> {
        self.change(|bindings| {
            let hosts = bindings.keys.entry(name.to_owned()).or_default();
            if !hosts.iter().any(|host| host == origin) {
                hosts.push(origin.to_owned());
            }
        })
    }

    fn bindings(&self) -> Result<Bindings, KeyError> {
        Ok(folder::read_json(&self.dir.join(BINDINGS))?)
    }

    fn change(&self, change: impl FnOnce(&mut Bindings)) -> Result<(), KeyError> {
        let _alone = lock(&self.changing);
        let before = self.bindings()?;
        let mut after = before.clone();
        change(&mut after);
        // A full disk must not keep a key from the host that has it already.
        if after == before { Ok(()) } else { Ok(folder::write_json(&self.dir.join(BINDINGS), &after)?) }
    }

    /// Lets one more host have a key.
    pub fn allow(&self, name: &str, host: &str) -> Result<(), KeyError> {
        let url = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
        let wrong = |reason| KeyError::NoHost { host: host.escape_default().to_string(), reason };
        let base = BaseUrl::parse(&url).map_err(wrong)?;
        self.bind(name, base.origin())
    }

    /// Stores a key and reads it back: some keychains take what they don't keep.
    pub async fn set(&self, name: &str, secret: Secret) -> Result<(), KeyError> {
        let reference = KeyRef::Keychain(name.to_owned());
        let secret = usable(secret.expose().to_owned(), &reference)?;
        let kept = self.ask(name, move |store, name| {
            store.write(name, secret.expose())?;
            Ok(store.read(name).is_ok_and(|read| read == secret.expose()))
        });
        if !kept.await? {
            return Err(KeyError::NotKept { name: name.to_owned() });
        }
        self.forget();
        self.change(|bindings| {
            bindings.keys.entry(name.to_owned()).or_default();
        })
    }

    pub async fn remove(&self, name: &str) -> Result<(), KeyError> {
        self.ask(name, |store, name| store.remove(name)).await?;
        self.forget();
        self.change(|bindings| {
            bindings.keys.remove(name);
        })
    }

    /// The keys that were set here, with the last four characters of each.
    pub async fn list(&self) -> Result<Vec<KeyView>, KeyError> {
        let mut views = vec![];
        for (name, hosts) in self.bindings()?.keys {
            let read = self.read(&name).await.map(|secret| Secret::new(secret).last_four());
            let (last_four, trouble) = match read {
                Ok(last_four) => (last_four, None),
                Err(error) => (None, Some(error.to_string())),
            };
            views.push(KeyView { name, last_four, trouble, hosts });
        }
        Ok(views)
    }

    /// Of a key that the settings name, for a screen; it is bound to no host by this.
    pub(crate) async fn last_four(&self, reference: &KeyRef) -> Result<Option<String>, KeyError> {
        let secret = match reference {
            KeyRef::Keychain(name) => self.read(name).await?,
            KeyRef::Env(variable) => from_environment(variable)?,
            KeyRef::File(path) => from_file(path)?,
        };
        Ok(usable(secret, reference)?.last_four())
    }

    /// Whether a key could be used towards an origin; it is bound to none by this.
    pub(crate) async fn look(&self, name: &str, origin: &str) -> Result<(), KeyError> {
        self.check_binding(name, origin)?;
        self.read(name).await.map(drop)
    }

    /// Whether the keychain answers at all, for `doctor`.
    pub async fn check(&self) -> Result<(), KeyError> {
        match self.read("tidegate-doctor").await {
            Ok(_) | Err(KeyError::Missing { .. }) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// The next use reads every key again.
    pub fn forget(&self) {
        lock(&self.cache).clear();
    }

    async fn read(&self, name: &str) -> Result<String, KeyError> {
        self.ask(name, |store, name| store.read(name)).await
    }

    /// Asks the store on its own thread and waits a limited time.
    async fn ask<T: Send + 'static>(
        &self,
        name: &str,
        question: impl FnOnce(&dyn Store, &str) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let (answer, answered) = oneshot::channel();
        let name = name.to_owned();
        let work: Work = Box::new(move |store| {
            if !answer.is_closed() {
                // Who asked may have given up meanwhile.
                let _ = answer.send(question(store, &name));
            }
        });
        if self.worker().send(work).is_err() {
            return Err(KeyError::Silent);
        }
        match tokio::time::timeout(self.patience, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(KeyError::Silent),
        }
    }

    fn worker(&self) -> &std::sync::mpsc::Sender<Work> {
        self.worker.get_or_init(|| {
            let (sender, works) = std::sync::mpsc::channel::<Work>();
            let store = lock(&self.store).take();
            let serve = move || {
                let Some(store) = store else { return };
                works.into_iter().for_each(|work| work(store.as_ref()));
            };
            if let Err(error) = std::thread::Builder::new().name("keychain".to_owned()).spawn(serve) {
                tracing::error!("no thread for the keychain: {error}");
            }
            sender
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn from_environment(variable: &str) -> Result<String, KeyError> {
    std::env::var(variable).map_err(|_| KeyError::NoVariable { variable: variable.to_owned() })
}

fn from_file(path: &Path) -> Result<String, KeyError> {
    let failed = |reason| KeyError::NoFile { file: path.to_owned(), reason };
    refuse_readable_by_others(path, &std::fs::metadata(path).map_err(failed)?)?;
    std::fs::read_to_string(path).map_err(failed)
}

#[cfg(unix)]
fn refuse_readable_by_others(path: &Path, meta: &std::fs::Metadata) -> Result<(), KeyError> {
    let mode = std::os::unix::fs::MetadataExt::mode(meta) & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::OpenFile { file: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_readable_by_others(_path: &Path, _meta: &std::fs::Metadata) -> Result<(), KeyError> {
    Ok(())
}

/// A key is one line of visible ASCII.
pub(crate) fn usable(secret: String, reference: &KeyRef) -> Result<Secret, KeyError> {
    let secret = zeroize::Zeroizing::new(secret);
    let trimmed = secret.trim();
    if trimmed.is_empty() || !trimmed.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(KeyError::NoKey { reference: reference.to_string() });
    }
    Ok(Secret::new(trimmed.to_owned()))
}

/// What the key of a simulator of ours is called; it needs a word that looks like a key, and keeps no secret.
pub(crate) const SIMULATOR_KEY: &str = "simulator";

/// The gateway's port: it names keys as the settings do.
pub(crate) struct GatewaySecrets(pub(crate) Arc<Keychain>);

impl gateway::Secrets for GatewaySecrets {
    fn key(&self, reference: &str, origin: &str) -> BoxFuture<Result<Arc<Secret>, KeyUnavailable>> {
        if reference == SIMULATOR_KEY {
            return Box::pin(async { Ok(Arc::new(Secret::new("sk-ant-simulator".to_owned()))) });
        }
        let keychain = self.0.clone();
        let (reference, origin) = (KeyRef::parse(reference), origin.to_owned());
        Box::pin(async move {
            let reference = reference.map_err(|rule| KeyUnavailable { reason: format!("key {rule}") })?;
            keychain.key(&reference, &origin).await.map_err(|error| KeyUnavailable { reason: error.to_string() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A keychain in memory: it may forget what it takes, be locked, or never answer.
    #[derive(Clone, Default)]
    struct Fake {
        kept: Arc<Mutex<HashMap<String, String>>>,
        forgetful: bool,
        locked: bool,
        silent: bool,
    }

    impl Fake {
        fn with(name: &str, secret: &str) -> Fake {
            let fake = Fake::default();
            lock(&fake.kept).insert(name.to_owned(), secret.to_owned());
            fake
        }
    }

    impl Store for Fake {
        fn read(&self, name: &str) -> Result<String, KeyError> {
            if self.silent {
                std::thread::park();
            }
            if self.locked {
                return Err(KeyError::Locked);
            }
            lock(&self.kept).get(name).cloned().ok_or(KeyError::Missing { name: name.to_owned() })
        }

        fn write(&self, name: &str, secret: &str) -> Result<(), KeyError> {
            if !self.forgetful {
                lock(&self.kept).insert(name.to_owned(), secret.to_owned());
            }
            Ok(())
        }

        fn remove(&self, name: &str) -> Result<(), KeyError> {
            lock(&self.kept).remove(name).map(drop).ok_or(KeyError::Missing { name: name.to_owned() })
        }
    }

    const API: &str = "https://api.anthropic.com";

    fn keychain(store: Fake) -> (tempfile::TempDir, Keychain) {
        let dir = tempfile::tempdir().expect("a folder");
        let keychain = Keychain::new(dir.path(), Box::new(store));
        (dir, keychain)
    }

    fn named(name: &str) -> KeyRef {
        KeyRef::Keychain(name.to_owned())
    }

    async fn text(keychain: &Keychain, reference: &KeyRef, origin: &str) -> Result<String, String> {
        keychain.key(reference, origin).await.map(|key| key.expose().to_owned()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_key_goes_to_the_host_it_first_served_and_to_no_other_until_allowed() {
        let (dir, keychain) = keychain(Fake::with("a", "sk-ant-0123456789"));
        assert_eq!(text(&keychain, &named("a"), API).await.as_deref(), Ok("sk-ant-0123456789"));
        let refused = text(&keychain, &named("a"), "https://evil.example").await.expect_err("another host");
        assert!(refused.contains("is bound to https://api.anthropic.com"), "{refused}");
        assert!(refused.contains("`tidegate key allow a https://evil.example`"), "{refused}");
        keychain.allow("a", "evil.example:443").expect("allowed");
        assert!(text(&keychain, &named("a"), "https://evil.example").await.is_ok());
        let file = std::fs::read_to_string(dir.path().join(BINDINGS)).expect("bindings");
        assert!(!file.contains("0123456789"));
    }

    #[tokio::test]
    async fn the_binding_outlives_the_process() {
        let (dir, first) = keychain(Fake::with("a", "sk-ant-0123456789"));
        first.key(&named("a"), API).await.expect("bound");
        let second = Keychain::new(dir.path(), Box::new(Fake::with("a", "sk-ant-0123456789")));
        assert!(text(&second, &named("a"), "http://127.0.0.1:9").await.is_err());
    }

    #[test]
    fn keys_that_are_bound_at_the_same_time_are_all_bound() {
        let (_dir, keychain) = keychain(Fake::default());
        let names: Vec<String> = (0..8).map(|number| format!("key-{number}")).collect();
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| keychain.bind(name, API).expect("written"));
            }
        });
        assert_eq!(keychain.bindings().expect("read").keys.into_keys().collect::<Vec<_>>(), names);
    }

    #[tokio::test]
    async fn setting_a_key_checks_that_it_was_kept() {
        let (_dir, keychain) = keychain(Fake { forgetful: true, ..Fake::default() });
        let refused = keychain.set("a", Secret::new("sk-1".into())).await.expect_err("not kept").to_string();
        assert!(refused.starts_with("the keychain did not keep the key a"), "{refused}");
    }

    #[tokio::test]
    async fn a_new_key_is_used_at_once_and_listed_by_its_last_four_characters() {
        let (_dir, keychain) = keychain(Fake::with("a", "sk-ant-old-456789"));
        keychain.key(&named("a"), API).await.expect("cached");
        keychain.set("a", Secret::new("sk-ant-new-9876\n".into())).await.expect("kept");
        assert_eq!(text(&keychain, &named("a"), API).await.as_deref(), Ok("sk-ant-new-9876"));
        let list = keychain.list().await.expect("a list");
        assert_eq!((list[0].name.as_str(), list[0].last_four.as_deref()), ("a", Some("9876")));
        keychain.remove("a").await.expect("removed");
        assert!(keychain.list().await.expect("a list").is_empty());
        assert!(text(&keychain, &named("a"), API).await.is_err());
    }

    #[tokio::test]
    async fn a_keychain_that_never_answers_is_left_in_the_end() {
        let (_dir, keychain) = keychain(Fake { silent: true, ..Fake::default() });
        let keychain = Keychain { patience: Duration::from_millis(1), ..keychain };
        let refused = text(&keychain, &named("a"), API).await.expect_err("silent");
        assert_eq!(refused, "the keychain did not answer within 10 s: unlock it and try again");
    }

    #[tokio::test]
    async fn what_keeps_a_key_away_is_said_in_a_sentence() {
        let (_dir, locked) = keychain(Fake { locked: true, ..Fake::default() });
        let said = text(&locked, &named("a"), API).await;
        assert_eq!(said, Err("the keychain is locked: unlock it and try again".into()));
        let (dir, empty) = keychain(Fake::default());
        let said = text(&empty, &named("a"), API).await.expect_err("missing");
        assert_eq!(said, "the keychain has no key a, or is locked: run `tidegate key set a`");
        let said = text(&empty, &KeyRef::Env("TIDEGATE_NO_SUCH".into()), API).await.expect_err("missing");
        assert!(said.starts_with("the environment has no variable TIDEGATE_NO_SUCH"), "{said}");
        let said = text(&empty, &KeyRef::File(dir.path().join("no")), API).await.expect_err("missing");
        assert!(said.contains("can't be read"), "{said}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_key_file_must_be_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, keychain) = keychain(Fake::default());
        let file = dir.path().join("key");
        std::fs::write(&file, "sk-ant-from-file\n").expect("written");
        let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("changed");
        mode(0o644);
        let said = text(&keychain, &KeyRef::File(file.clone()), API).await.expect_err("open to all");
        assert!(said.contains("(mode 0644): run chmod 600"), "{said}");
        mode(0o600);
        assert_eq!(text(&keychain, &KeyRef::File(file.clone()), API).await.as_deref(), Ok("sk-ant-from-file"));
        std::fs::write(&file, "\n").expect("written");
        keychain.forget();
        assert!(text(&keychain, &KeyRef::File(file), API).await.expect_err("empty").contains("is empty"));
    }
}
