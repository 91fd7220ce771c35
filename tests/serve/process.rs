//! The server as a process of the program, over a store.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server of this machine's users, which ends with this.
pub struct Process {
    pub child: Child,
    pub port: u16,
}

impl Process {
    /// One with these options more, once it listens.
    pub fn start(store: &Path, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_polysema"))
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "off"])
            .args(["--log", "off", "--store"])
            .arg(store)
            .args(options)
            .env_remove("POLYSEMA_USERS")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let err = child.stderr.take().expect("a pipe");
        let mut lines = BufReader::new(err).lines();
        let mut said = vec![];
        let port = loop {
            let Some(line) = lines.next() else {
                panic!("a line that says where it listens is required, got {said:?}");
            };
            let line = line.expect("text");
            if let Some((_, port)) = line.split_once(" -p ") {
                let port = port.split(' ').next().unwrap_or_default();
                break port.parse().expect("a port");
            }
            said.push(line);
        };
        // Who does not read a pipe stops its writer.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
