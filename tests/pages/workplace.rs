//! A folder with the demo's store and the files that the pages speak of, and the program run in it as a reader would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::root;

/// What a command said, and whether it succeeded.
pub struct Said {
    pub succeeded: bool,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8 output");
        Said {
            succeeded: output.status.success(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

pub struct Workplace(TempDir);

impl Workplace {
    /// An empty folder.
    pub fn empty() -> Self {
        Self(tempfile::tempdir().expect("a writable folder"))
    }

    /// With the demo's store, and links to files of the project.
    pub fn with(files: &[(&str, &str)]) -> Self {
        static DEMO: OnceLock<Workplace> = OnceLock::new();
        let demo = DEMO.get_or_init(|| {
            let demo = Self::empty();
            let said = demo.shell("polysema demo");
            assert!(said.succeeded, "{}", said.err);
            demo
        });
        let place = Self::empty();
        let store = "polysema.store";
        copy(&demo.path(store), &place.path(store));
        for (name, of_project) in files {
            place.link(name, of_project);
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn link(&self, name: &str, of_project: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        let linked = std::os::unix::fs::symlink(root().join(of_project), &path);
        linked.expect("a link");
    }

    /// Runs a line of a shell, in which `polysema` is the program.
    pub fn shell(&self, line: &str) -> Said {
        let mut command = Command::new("sh");
        self.run(command.args(["-c", line]))
    }

    /// Runs what is typed at the prompt.
    pub fn prompt(&self, statement: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
        self.run(command.args(["--run", "demo", "-c", statement]))
    }

    /// Runs several statements in one session, whose results come in this format.
    pub fn prompts(&self, statements: &[&str], format: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
        command.args(["--run", "demo", "--format", format]);
        for statement in statements {
            command.args(["-c", statement]);
        }
        self.run(&mut command)
    }

    fn run(&self, command: &mut Command) -> Said {
        let program = Path::new(env!("CARGO_BIN_EXE_polysema"));
        let mut path = program.parent().expect("a folder").as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let command = command.current_dir(self.0.path()).env("PATH", path);
        let command = command
            .env_remove("POLYSEMA_STORE")
            .env_remove("POLYSEMA_RUN");
        let output = command
            .env("HOME", self.0.path())
            .stdin(Stdio::null())
            .output();
        output.expect("the program starts").into()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a writable folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a writable folder");
        }
    }
}
