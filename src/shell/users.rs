//! `polysema user`: the file of users that a server asks who may log in.

use std::borrow::Cow;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use datafusion::arrow::array::{RecordBatch, StringArray};
use rustyline::config::ColorMode;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::history::DefaultHistory;
use rustyline::{Completer, Config, Editor, Helper, Hinter, Validator};

use super::failure::Failure;
use super::format::value::width;
use super::format::{Format, Layout};
use super::interpreter::note;
use super::output::{ResultSink, StandardOutput};
use crate::serve::users::{self, Role, Users};
use crate::text::describe;

/// Which file of users.
#[derive(Debug, Clone, clap::Args)]
pub struct UsersFile {
    /// File of users; when not given the one beside the store, as ./polysema.store.users
    #[arg(
        long = "users",
        value_name = "FILE",
        env = "POLYSEMA_USERS",
        global = true
    )]
    path: Option<PathBuf>,
}

impl UsersFile {
    /// Where it is for this store.
    pub fn of(&self, store: &Path) -> datafusion::error::Result<PathBuf> {
        match &self.path {
            Some(path) => Ok(path.clone()),
            None => users::beside(store),
        }
    }

    /// The file that a server asks: the one that was named, or the one beside the store where it is.
    pub fn of_server(&self, store: &Path) -> datafusion::error::Result<Option<PathBuf>> {
        match &self.path {
            Some(path) => Ok(Some(path.clone())),
            None => users::beside(store).map(|path| path.exists().then_some(path)),
        }
    }
}

/// Who may log in to a server.
#[derive(Debug, clap::Args)]
pub struct UserCommand {
    #[command(flatten)]
    file: UsersFile,
    #[command(subcommand)]
    act: UserAct,
}

#[derive(Debug, clap::Subcommand)]
enum UserAct {
    /// Add a user, whose password is asked for, or is the first line of standard input where that is no terminal
    Add {
        /// Name of the user
        name: String,
        /// What the user may do: ask (reader), make tables of the session besides (analyst), everything (owner)
        #[arg(long, default_value = "reader", value_parser = role())]
        role: Role,
    },
    /// List the users with their roles
    List,
    /// Remove a user
    Remove {
        /// Name of the user
        name: String,
    },
    /// Give a user another password
    Password {
        /// Name of the user
        name: String,
    },
    /// Give a user another role
    Role {
        /// Name of the user
        name: String,
        /// The role
        #[arg(value_parser = role())]
        role: Role,
    },
}

/// The parser of a role's name.
pub fn role() -> impl TypedValueParser<Value = Role> {
    let names = PossibleValuesParser::new(Role::ALL.map(Role::name));
    names.try_map(|name| Role::named(&name).ok_or("a role is required"))
}

/// Does what the command line says of the users.
pub fn run(command: &UserCommand, store: &Path, format: Format) -> Result<(), Failure> {
    let failed = |error| Failure::Error(format!("error: {}", describe(&error)));
    let file = command.file.of(store).map_err(failed)?;
    let said = match &command.act {
        UserAct::List => return list(&Users::read(&file).map_err(failed)?, format),
        UserAct::Add { name, role } => {
            let password = password_of(name)?;
            users::add(&file, name, *role, &password).map_err(failed)?;
            format!("{} '{name}' may log in", role.name())
        }
        UserAct::Password { name } => {
            let password = password_of(name)?;
            users::set_password(&file, name, &password).map_err(failed)?;
            format!("user '{name}' has another password")
        }
        UserAct::Remove { name } => {
            users::remove(&file, name).map_err(failed)?;
            format!("user '{name}' may not log in any more")
        }
        UserAct::Role { name, role } => {
            users::set_role(&file, name, *role).map_err(failed)?;
            format!(
                "user '{name}' is {} from the next login on",
                with_article(*role)
            )
        }
    };
    note(&format!("{said} ({})", file.display()));
    Ok(())
}

/// A role as a sentence has it.
pub fn with_article(role: Role) -> &'static str {
    match role {
        Role::Reader => "a reader",
        Role::Analyst => "an analyst",
        Role::Owner => "an owner",
    }
}

fn list(users: &Users, format: Format) -> Result<(), Failure> {
    let names: StringArray = users.iter().map(|user| Some(user.name.as_str())).collect();
    let roles: StringArray = users.iter().map(|user| Some(user.role.name())).collect();
    let rows = RecordBatch::try_from_iter([
        ("name", Arc::new(names) as _),
        ("role", Arc::new(roles) as _),
    ]);
    let rows = rows.map_err(|error| Failure::Error(format!("error: {error}")))?;
    let mut out = StandardOutput::default();
    out.begin(format)?;
    let mut writer = Layout::plain(format).writer(&rows.schema())?;
    writer.write(&rows, &mut out)?;
    writer.finish(&mut out)?;
    Ok(out.flush()?)
}

fn password_of(name: &str) -> Result<String, Failure> {
    let input = io::stdin();
    if !input.is_terminal() {
        let mut line = String::new();
        let read = input.lock().read_line(&mut line);
        read.map_err(|error| {
            Failure::Error(format!(
                "stdin: error: a password in UTF-8 is required, got {error}"
            ))
        })?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_string());
    }
    let mut terminal = terminal().map_err(asked)?;
    let mut ask = |prompt: &str| terminal.readline(prompt).map_err(asked);
    let password = ask(&format!("password of {name}: "))?;
    match ask("once more: ")? == password {
        true => Ok(password),
        false => Err(Failure::Error(
            "error: the same password twice is required, got two".to_string(),
        )),
    }
}

fn asked(error: ReadlineError) -> Failure {
    match error {
        ReadlineError::Interrupted | ReadlineError::Eof => Failure::interrupted(),
        error => Failure::Error(format!(
            "error: a terminal that hides what is typed is required, got {error}"
        )),
    }
}

/// A line of a terminal of which blanks are seen. Unlike a switched-off echo it does not outlast Ctrl-C.
fn terminal() -> Result<Editor<Blank, DefaultHistory>, ReadlineError> {
    // Its lines are read as they are, and seen.
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(io::Error::other("TERM=dumb (standard input may be a file)").into());
    }
    let config = Config::builder()
        .color_mode(ColorMode::Forced)
        .auto_add_history(false);
    let mut editor = Editor::with_config(config.build())?;
    editor.set_helper(Some(Blank));
    Ok(editor)
}

/// Shows blanks in place of what is typed.
#[derive(Completer, Helper, Hinter, Validator)]
struct Blank;

impl Highlighter for Blank {
    fn highlight<'l>(&self, line: &'l str, _position: usize) -> Cow<'l, str> {
        Cow::Owned(" ".repeat(width(line)))
    }

    fn highlight_char(&self, _line: &str, _position: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}
