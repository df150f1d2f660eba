//! The programs that may call, and the hashes of their tokens. The tokens themselves are kept nowhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::call::Class;
use domain::config::Client;
use domain::money::Usd;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::folder::{self, FolderError};
use crate::settings::is_name;

#[derive(Debug, Error)]
pub enum ClientError {
    #[error("there is a client {name} already: change it with `tidegate client set {name}`, or choose another name")]
    Taken { name: String },
    #[error("there is no client {name}: `tidegate client list` shows those there are")]
    Unknown { name: String },
    #[error("{what} is wrong: {rule}")]
    Wrong { what: &'static str, rule: &'static str },
    #[error("this system gives no random numbers: no token was made")]
    NoChance,
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// What a person says of a client. Absent: as it is. Empty or `none`: taken away.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientChange {
    pub priority: Option<String>,
    pub weight: Option<u32>,
    pub person: Option<String>,
    pub project: Option<String>,
    pub daily_usd: Option<String>,
    pub weekly_usd: Option<String>,
    pub monthly_usd: Option<String>,
    pub max_share: Option<u8>,
}

/// A line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    name: String,
    token_sha256: String,
    priority: String,
    weight: u32,
    person: Option<String>,
    project: Option<String>,
    daily_usd: Option<String>,
    weekly_usd: Option<String>,
    monthly_usd: Option<String>,
    max_share: Option<u8>,
}

#[derive(Default, Serialize, Deserialize)]
struct ClientsFile {
    clients: Vec<Row>,
}

/// A client and the SHA-256 of its token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    pub token_sha256: [u8; 32],
    pub client: Arc<Client>,
}

/// All clients, in memory and in `DIR/clients.json`.
#[derive(Debug)]
pub struct Clients {
    file: PathBuf,
    all: Vec<Known>,
}

impl Clients {
    pub fn open(dir: &Path) -> Result<Clients, ClientError> {
        let file = dir.join("clients.json");
        let read: ClientsFile = folder::read_json(&file)?;
        let all = read.clients.into_iter().map(Row::known).collect::<Result<_, _>>()?;
        Ok(Clients { file, all })
    }

    pub fn all(&self) -> &[Known] {
        &self.all
    }

    /// Makes a client and returns its token, which nobody can show again.
    pub fn add(&mut self, name: &str, change: &ClientChange) -> Result<String, ClientError> {
        if !is_name(name) {
            return Err(ClientError::Wrong {
                what: "the name",
                rule: "1 to 64 letters, digits, dots, dashes or underscores",
            });
        }
        if self.all.iter().any(|known| *known.client.name == *name) {
            return Err(ClientError::Taken { name: name.to_owned() });
        }
        let token = new_token("tg-")?;
        let client = changed(&unchanged(name), change)?;
        let token_sha256 = Sha256::digest(token.as_bytes()).into();
        let mut all = self.all.clone();
        all.push(Known { token_sha256, client: Arc::new(client) });
        self.save(all)?;
        Ok(token)
    }

    pub fn set(&mut self, name: &str, change: &ClientChange) -> Result<(), ClientError> {
        let index = self.position(name)?;
        let mut all = self.all.clone();
        all[index].client = Arc::new(changed(&all[index].client, change)?);
        self.save(all)
    }

    pub fn revoke(&mut self, name: &str) -> Result<(), ClientError> {
        let index = self.position(name)?;
        let mut all = self.all.clone();
        all.remove(index);
        self.save(all)
    }

    fn position(&self, name: &str) -> Result<usize, ClientError> {
        let found = self.all.iter().position(|known| *known.client.name == *name);
        found.ok_or_else(|| ClientError::Unknown { name: name.escape_default().to_string() })
    }

    /// What is in memory is what is on disk.
    fn save(&mut self, all: Vec<Known>) -> Result<(), ClientError> {
        folder::write_json(&self.file, &ClientsFile { clients: all.iter().map(Row::of).collect() })?;
        self.all = all;
        Ok(())
    }
}

/// 32 random bytes, as text after a prefix.
pub(crate) fn new_token(prefix: &str) -> Result<String, ClientError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| ClientError::NoChance)?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// As `clients.json` keeps a token.
pub fn hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// A client of whom nobody has said anything.
pub(crate) fn unchanged(name: &str) -> Client {
    Client {
        name: name.into(),
        class: Class::Normal,
        weight: 1,
        person: None,
        project: None,
        daily: None,
        weekly: None,
        monthly: None,
        max_share: None,
    }
}

fn changed(client: &Client, change: &ClientChange) -> Result<Client, ClientError> {
    Ok(Client {
        name: client.name.clone(),
        class: change.priority.as_deref().map_or(Ok(client.class), class)?,
        weight: change.weight.map_or(Ok(client.weight), weight)?,
        person: change.person.as_deref().map_or(Ok(client.person.clone()), label)?,
        project: change.project.as_deref().map_or(Ok(client.project.clone()), label)?,
        daily: change.daily_usd.as_deref().map_or(Ok(client.daily), amount)?,
        weekly: change.weekly_usd.as_deref().map_or(Ok(client.weekly), amount)?,
        monthly: change.monthly_usd.as_deref().map_or(Ok(client.monthly), amount)?,
        max_share: change.max_share.map_or(Ok(client.max_share), share)?,
    })
}

fn class(name: &str) -> Result<Class, ClientError> {
    Class::named(name).ok_or(ClientError::Wrong { what: "the priority", rule: "critical, normal or background" })
}

fn weight(weight: u32) -> Result<u32, ClientError> {
    match weight {
        1..=1_000 => Ok(weight),
        _ => Err(ClientError::Wrong { what: "the weight", rule: "1 to 1,000" }),
    }
}

fn label(text: &str) -> Result<Option<Arc<str>>, ClientError> {
    match text {
        "" | "none" => Ok(None),
        text if text.len() <= 128 && !text.chars().any(char::is_control) => Ok(Some(text.into())),
        _ => {
            Err(ClientError::Wrong { what: "the person or project", rule: "at most 128 bytes, no control characters" })
        }
    }
}

fn amount(text: &str) -> Result<Option<Usd>, ClientError> {
    match text {
        "" | "none" => Ok(None),
        text => match text.parse::<Usd>() {
            Ok(usd) if usd >= Usd::ZERO => Ok(Some(usd)),
            Ok(_) | Err(_) => Err(ClientError::Wrong { what: "the amount", rule: "dollars such as 12.50, or none" }),
        },
    }
}

/// 0 or 100 percent is no limit.
fn share(percent: u8) -> Result<Option<u8>, ClientError> {
    match percent {
        0 | 100 => Ok(None),
        1..=99 => Ok(Some(percent)),
        _ => Err(ClientError::Wrong { what: "max-share", rule: "a percentage from 1 to 100" }),
    }
}

impl Row {
    fn of(known: &Known) -> Row {
        let client = &known.client;
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        Row {
            name: client.name.to_string(),
            token_sha256: hex(&known.token_sha256),
            priority: client.class.name().to_owned(),
            weight: client.weight,
            person: text(&client.person),
            project: text(&client.project),
            daily_usd: client.daily.map(|usd| usd.to_string()),
            weekly_usd: client.weekly.map(|usd| usd.to_string()),
            monthly_usd: client.monthly.map(|usd| usd.to_string()),
            max_share: client.max_share,
        }
    }

    fn known(self) -> Result<Known, ClientError> {
        let token_sha256 = unhex(&self.token_sha256)
            .ok_or(ClientError::Wrong { what: "a token_sha256 in clients.json", rule: "64 hexadecimal digits" })?;
        let change = ClientChange {
            priority: Some(self.priority),
            weight: Some(self.weight),
            person: self.person,
            project: self.project,
            daily_usd: self.daily_usd,
            weekly_usd: self.weekly_usd,
            monthly_usd: self.monthly_usd,
            max_share: self.max_share,
        };
        Ok(Known { token_sha256, client: Arc::new(changed(&unchanged(&self.name), &change)?) })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_survives_a_restart_and_its_token_is_in_no_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut clients = Clients::open(dir.path()).expect("empty");
        let change = ClientChange {
            priority: Some("critical".into()),
            weight: Some(3),
            project: Some("shop".into()),
            daily_usd: Some("20".into()),
            max_share: Some(40),
            ..ClientChange::default()
        };
        let token = clients.add("ci", &change).expect("added");
        assert!(token.starts_with("tg-") && token.len() == 46, "{}", token.len());
        let again = Clients::open(dir.path()).expect("read back");
        assert_eq!(again.all(), clients.all());
        let known = &again.all()[0];
        assert_eq!(known.token_sha256, <[u8; 32]>::from(Sha256::digest(&token)));
        assert_eq!((known.client.class, known.client.weight, known.client.max_share), (Class::Critical, 3, Some(40)));
        let text = std::fs::read_to_string(dir.path().join("clients.json")).expect("a file");
        assert!(!text.contains(&token[3..]));
    }

    #[test]
    fn a_client_can_be_changed_and_revoked() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut clients = Clients::open(dir.path()).expect("empty");
        clients.add("web", &ClientChange { daily_usd: Some("5".into()), ..ClientChange::default() }).expect("added");
        let change = ClientChange { daily_usd: Some("none".into()), weight: Some(2), ..ClientChange::default() };
        clients.set("web", &change).expect("changed");
        assert_eq!((clients.all()[0].client.daily, clients.all()[0].client.weight), (None, 2));
        clients.revoke("web").expect("revoked");
        assert!(Clients::open(dir.path()).expect("read back").all().is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_client_is_said_in_a_sentence() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut clients = Clients::open(dir.path()).expect("empty");
        clients.add("web", &ClientChange::default()).expect("added");
        let change =
            |change: ClientChange, clients: &mut Clients| clients.set("web", &change).expect_err("wrong").to_string();
        let add = |name: &str, clients: &mut Clients| {
            clients.add(name, &ClientChange::default()).expect_err("wrong").to_string()
        };
        assert!(add("web", &mut clients).starts_with("there is a client web already"));
        assert!(add("a b", &mut clients).starts_with("the name is wrong: 1 to 64"));
        assert!(clients.revoke("x").expect_err("unknown").to_string().starts_with("there is no client x"));
        let wrong = ClientChange { weight: Some(0), ..ClientChange::default() };
        assert_eq!(change(wrong, &mut clients), "the weight is wrong: 1 to 1,000");
        let wrong = ClientChange { daily_usd: Some("-1".into()), ..ClientChange::default() };
        assert!(change(wrong, &mut clients).starts_with("the amount is wrong"));
    }
}
