//! Workers that are processes of the program.
#![allow(dead_code, reason = "no program of tests asks in every way")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A worker that is a process of its own; it ends with this.
pub struct Process {
    child: Child,
    pub address: String,
}

impl Process {
    pub fn start(store: &Path, options: &[&str]) -> Self {
        Self::at(store, "127.0.0.1:0", options)
    }

    pub fn at(store: &Path, address: &str, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_polysema"))
            .args(["worker", "--listen", address, "--store"])
            .arg(store)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let line = lines.next().expect("a line").expect("text");
        let (_, address) = line.split_once(" listens at ").expect(&line);
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.to_string(),
        }
    }

    pub fn addresses(all: &[Self]) -> Vec<String> {
        all.iter().map(|worker| worker.address.clone()).collect()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
