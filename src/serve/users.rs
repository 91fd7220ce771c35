//! Who may ask a server, in which role, and the file that says so: a line a user, secrets as PostgreSQL keeps them. Above
//! 400 lines, since it is one file's form.
//!
//! ```text
//! # a comment
//! *:unknown:KEY                                 what passwords of names that nobody has are made of
//! ana:reader:SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY
//! ```

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::{exec_datafusion_err, exec_err};
use datafusion::error::Result;

use super::scram::{Exchange, ScramError, ScramSecret, random, sha256};
use crate::files::whole::write_private_file;
use crate::files::{disk, file_error, regular};
use crate::policy::Policy;

/// Longest wait for another who writes the file, which takes well below a second. Chosen, not tuned.
const WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
/// Most bytes of a name, as PostgreSQL's clients have them.
const NAME_BYTES: usize = 63;
const KEY_BYTES: usize = 32;
/// How the line begins that says what unknown names are answered by.
const UNKNOWN: &str = "*:unknown:";

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Asks the store.
    Reader,
    /// Makes tables and views of the session besides.
    Analyst,
    /// Does everything: files, downloads, jobs, tables that last, every setting.
    Owner,
}

impl Role {
    /// All, the narrowest first.
    pub const ALL: [Role; 3] = [Role::Reader, Role::Analyst, Role::Owner];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Analyst => "analyst",
            Role::Owner => "owner",
        }
    }

    /// The role of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// What its sessions may do. The settings of DataFusion are not a reader's, since they size what a query takes.
    pub fn policy(self) -> Policy {
        match self {
            Role::Reader | Role::Analyst => Policy {
                create_tables: self == Role::Analyst,
                settings: vec!["polysema.".to_string()],
                ..Policy::nothing()
            },
            Role::Owner => Policy::everything(),
        }
    }
}

/// A line of the file that is a user's.
#[derive(Debug, Clone)]
pub struct User {
    /// The name.
    pub name: String,
    /// The role.
    pub role: Role,
    secret: ScramSecret,
}

impl User {
    fn line(&self) -> String {
        format!("{}:{}:{}", self.name, self.role.name(), self.secret)
    }
}

#[derive(Debug)]
enum Line {
    /// A comment, or nothing.
    Other(String),
    Unknown(Vec<u8>),
    User(User),
}

/// A file of users as it was read.
#[derive(Debug)]
pub struct Users {
    lines: Vec<Line>,
    /// What unknown names are answered by where no line says it.
    digest: Vec<u8>,
}

/// Where the users of a store are when nothing else is said: `STORE.users`, beside the folder of the store and not in
/// it, since a store may come from anyone and goes to others.
pub fn beside(store: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(store).map_err(|e| file_error("find", store, e))?;
    let Some(name) = absolute.file_name() else {
        let store = store.display();
        return exec_err!(
            "users: a store whose folder has a name, or --users, is required, got {store}"
        );
    };
    let mut users = OsString::from(name);
    users.push(".users");
    Ok(absolute.with_file_name(users))
}

impl Users {
    /// Reads a file of users, which nobody else may read.
    ///
    /// Errors: there is none; others may read it; a line is none of a user, or the second one of its name.
    pub fn read(path: &Path) -> Result<Self> {
        match path.symlink_metadata() {
            Ok(_) => {
                let bytes = regular::read_private(path).map_err(|e| file_error("read", path, e))?;
                Self::parse(path, &bytes)
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                exec_err!(
                    "users: a file of users is required, got none at {} (polysema user add NAME makes one)",
                    path.display()
                )
            }
            Err(e) => Err(file_error("read", path, e)),
        }
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let text = str::from_utf8(bytes).map_err(|_| {
            exec_datafusion_err!(
                "{}: UTF-8 text is required, got other bytes",
                path.display()
            )
        })?;
        let mut users = Self {
            lines: vec![],
            digest: sha256(bytes).to_vec(),
        };
        for (number, text) in text.lines().enumerate() {
            // What the line says is not repeated: it may be a password.
            let wrong = |required: &str| {
                exec_datafusion_err!("{}:{}: {required}", path.display(), number + 1)
            };
            let line = parse_line(text.trim()).map_err(wrong)?;
            if let Line::User(user) = &line
                && users.find(&user.name).is_some()
            {
                return Err(wrong(&format!(
                    "a line for each user is required, got two of '{}'",
                    user.name
                )));
            }
            users.lines.push(line);
        }
        Ok(users)
    }

    /// The users, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.lines.iter().filter_map(|line| match line {
            Line::User(user) => Some(user),
            _ => None,
        })
    }

    fn find(&self, name: &str) -> Option<&User> {
        self.iter().find(|user| user.name == name)
    }

    /// What is asked of somebody who says this name. Of one that nobody has the same is asked, and refused at the end.
    pub fn login(&self, name: &str) -> Login {
        let stand_in = self.stand_in(name);
        match self.find(name) {
            Some(user) => Login {
                secret: user.secret.clone(),
                role: Some(user.role),
            },
            None => Login {
                secret: stand_in,
                role: None,
            },
        }
    }

    /// A secret that nobody has for a name that may be anyone's, of the shape that one of the users' has.
    fn stand_in(&self, name: &str) -> ScramSecret {
        let written = self.lines.iter().find_map(|line| match line {
            Line::Unknown(key) => Some(key),
            _ => None,
        });
        let key = written.unwrap_or(&self.digest);
        let count = self.iter().count().max(1);
        let chosen = sha256(&[key, name.as_bytes()].concat())[..8]
            .iter()
            .fold(0, |number, byte| {
                (number * 256 + usize::from(*byte)) % count
            });
        let like = self.iter().nth(chosen).map(|user| &user.secret);
        ScramSecret::stand_in(like, key, name)
    }
}

fn parse_line(text: &str) -> Result<Line, &'static str> {
    if text.is_empty() || text.starts_with('#') {
        return Ok(Line::Other(text.to_string()));
    }
    if let Some(key) = text.strip_prefix(UNKNOWN) {
        let key = STANDARD
            .decode(key)
            .ok()
            .filter(|key| key.len() == KEY_BYTES);
        return key
            .map(Line::Unknown)
            .ok_or("a key of 32 bytes in base64 is required after *:unknown:");
    }
    let mut fields = text.splitn(3, ':');
    let mut field = || fields.next().unwrap_or_default();
    let (name, role, secret) = (field(), field(), field());
    require_name(name)
        .map_err(|_| "NAME:ROLE:SECRET with a name of letters, digits and _ . @ - is required")?;
    let role = Role::named(role).ok_or("a role is required: reader, analyst or owner")?;
    let secret = ScramSecret::parse(secret)
        .ok_or("a secret SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY is required")?;
    let name = name.to_string();
    Ok(Line::User(User { name, role, secret }))
}

fn require_name(name: &str) -> Result<()> {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
    match (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(of_name) {
        true => Ok(()),
        false => exec_err!(
            "users: a name of 1 to {NAME_BYTES} letters, digits and _ . @ - is required, got '{name}'"
        ),
    }
}

/// What is asked of somebody who says a name.
#[derive(Debug)]
pub struct Login {
    secret: ScramSecret,
    /// None where nobody has the name.
    role: Option<Role>,
}

impl Login {
    /// The role, if the password is the user's. It takes as long for a name that nobody has.
    pub fn with_password(&self, password: &str) -> Option<Role> {
        let verified = self.secret.verify(password);
        self.role.filter(|_| verified)
    }

    /// Begins an exchange by SCRAM-SHA-256 with a client's first message.
    pub fn begin(self, client_first: &[u8]) -> Result<LoginExchange, ScramError> {
        Ok(LoginExchange {
            exchange: Exchange::begin(self.secret, client_first)?,
            role: self.role,
        })
    }
}

/// An exchange with somebody who says a name.
#[derive(Debug)]
pub struct LoginExchange {
    exchange: Exchange,
    role: Option<Role>,
}

impl LoginExchange {
    /// What the server answers to the first message.
    pub fn server_first(&self) -> &str {
        self.exchange.server_first()
    }

    /// Takes the client's final message; what the server answers, and the user's role.
    pub fn finish(self, client_final: &[u8]) -> Result<(String, Role), ScramError> {
        let server_final = self.exchange.finish(client_final)?;
        Ok((server_final, self.role.ok_or(ScramError::Refused)?))
    }
}

/// Adds a user; the file is made if it is missing.
///
/// Errors: there is one of that name; the name or the password is none.
pub fn add(path: &Path, name: &str, role: Role, password: &str) -> Result<()> {
    require_name(name)?;
    let secret = secret_of(password)?;
    change(path, true, |users| {
        if users.find(name).is_some() {
            return exec_err!("users: a name that nobody has is required, got '{name}'");
        }
        let name = name.to_string();
        users.lines.push(Line::User(User { name, role, secret }));
        Ok(())
    })
}

/// Removes a user.
pub fn remove(path: &Path, name: &str) -> Result<()> {
    change(path, false, |users| {
        known(users, name)?;
        users
            .lines
            .retain(|line| !matches!(line, Line::User(user) if user.name == name));
        Ok(())
    })
}

/// Gives a user another password.
pub fn set_password(path: &Path, name: &str, password: &str) -> Result<()> {
    let secret = secret_of(password)?;
    change(path, false, |users| {
        known(users, name)?.secret = secret;
        Ok(())
    })
}

/// Gives a user another role.
pub fn set_role(path: &Path, name: &str, role: Role) -> Result<()> {
    change(path, false, |users| {
        known(users, name)?.role = role;
        Ok(())
    })
}

fn secret_of(password: &str) -> Result<ScramSecret> {
    match password.is_empty() {
        true => exec_err!("users: a password is required, got none"),
        false => ScramSecret::new(password),
    }
}

fn known<'a>(users: &'a mut Users, name: &str) -> Result<&'a mut User> {
    let names: Vec<String> = users.iter().map(|user| user.name.clone()).collect();
    let found = users.lines.iter_mut().find_map(|line| match line {
        Line::User(user) if user.name == name => Some(user),
        _ => None,
    });
    found.ok_or_else(|| {
        let known = match names.is_empty() {
            true => "a user, of whom there is none,".to_string(),
            false => format!("one of {}", names.join(", ")),
        };
        exec_datafusion_err!("users: {known} is required, got '{name}'")
    })
}

/// Reads the file, changes it and writes it whole, while nobody else does.
fn change(path: &Path, make: bool, change: impl FnOnce(&mut Users) -> Result<()>) -> Result<()> {
    // What a link points to is written, and the link stays.
    let place = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let _held = hold(&place)?;
    let mut users = match make && place.symlink_metadata().is_err() {
        true => Users::parse(&place, b"# NAME:ROLE:SECRET, written by polysema user\n")?,
        false => Users::read(&place)?,
    };
    change(&mut users)?;
    let mut text = String::new();
    if !users
        .lines
        .iter()
        .any(|line| matches!(line, Line::Unknown(_)))
    {
        let key = random(KEY_BYTES).ok_or_else(|| {
            exec_datafusion_err!("random numbers of the system are required, got none")
        })?;
        let after = users
            .lines
            .iter()
            .take_while(|line| matches!(line, Line::Other(_)))
            .count();
        users.lines.insert(after, Line::Unknown(key));
    }
    for line in &users.lines {
        text += &match line {
            Line::Other(line) => line.clone(),
            Line::Unknown(key) => format!("{UNKNOWN}{}", STANDARD.encode(key)),
            Line::User(user) => user.line(),
        };
        text.push('\n');
    }
    write_private_file(&place, text.as_bytes())
}

/// Holds the file's lock, which lies beside it.
fn hold(place: &Path) -> Result<File> {
    let mut name = OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(".lock");
    let path = place.with_file_name(name);
    let file = disk::open_lock(&path).map_err(|e| file_error("open", &path, e))?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if started.elapsed() < WAIT => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                return exec_err!(
                    "users: a file that nobody writes is required, got {}, which another process holds",
                    place.display()
                );
            }
            Err(TryLockError::Error(e)) => return Err(file_error("lock", &path, e)),
        }
    }
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
