//! What unfinished ingests have kept: of all of a corpus, or of shards that several processes work on.

use std::fmt;
use std::path::PathBuf;

use datafusion::error::Result;

use super::Store;
use super::lock::{self, Name, Tried};
use super::names::{UNFINISHED, check_name};
use crate::files::disk;
use crate::files::generations::Generations;

/// The pointer file of checkpoints.
const POINTER: &str = "checkpoint.json";

/// One of the parts that a corpus is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorpusShard {
    /// From 1 on.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl fmt::Display for CorpusShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} of {}", self.number, self.of)
    }
}

impl CorpusShard {
    /// Its name beside those of the other shards of a run; a dot is in no run's name.
    fn name(self, run: &str) -> String {
        format!("{run}.{}-of-{}", self.number, self.of)
    }

    /// The run and the shard of a name.
    fn parse(name: &str) -> Option<(&str, Self)> {
        let (run, shard) = name.split_once('.')?;
        let (number, of) = shard.split_once("-of-")?;
        let (number, of) = (number.parse().ok()?, of.parse().ok()?);
        let shard = Self { number, of };
        (check_name("run", run).is_ok() && shard.name(run) == name).then_some((run, shard))
    }
}

impl Store {
    /// The checkpoints of the ingest of a run, whether there are any or not.
    pub fn unfinished_run(&self, name: &str) -> Result<Generations> {
        check_name("run", name)?;
        Ok(self.unfinished(name))
    }

    /// Those of a shard of it.
    pub fn unfinished_shard(&self, run: &str, shard: CorpusShard) -> Result<Generations> {
        check_name("run", run)?;
        Ok(self.unfinished(&shard.name(run)))
    }

    /// Those of every shard of it of which there are any, however many it was cut into.
    pub fn unfinished_shards(&self, run: &str) -> Result<Vec<Generations>> {
        let shards = self.shards_of(run)?.into_iter();
        Ok(shards
            .map(|shard| self.unfinished(&shard.name(run)))
            .collect())
    }

    /// By the name of their folder; nothing if it has another one.
    pub(super) fn unfinished_by_name(&self, name: &str) -> Option<Generations> {
        let known = check_name("run", name).is_ok() || CorpusShard::parse(name).is_some();
        known.then(|| self.unfinished(name))
    }

    pub(super) fn unfinished(&self, name: &str) -> Generations {
        Generations::new(self.root.join(UNFINISHED).join(name), POINTER)
    }

    pub(super) fn is_unfinished(&self, run: &str) -> Result<bool> {
        Ok(self.unfinished(run).exists() || !self.shards_of(run)?.is_empty())
    }

    fn shards_of(&self, run: &str) -> Result<Vec<CorpusShard>> {
        let entries = disk::entries(&self.root.join(UNFINISHED))?;
        let names = entries.iter().filter_map(|path| path.file_name()?.to_str());
        let shards = names.filter_map(CorpusShard::parse);
        Ok(shards
            .filter(|(of, _)| *of == run)
            .map(|(_, shard)| shard)
            .collect())
    }

    /// Holds a shard, unless someone works on it.
    pub fn hold_shard(&self, run: &str, shard: CorpusShard) -> Result<Tried> {
        lock::attempt(&self.root, Self::lock_of(&shard.name(run)), "working on it")
    }

    fn lock_of(name: &str) -> Name<'_> {
        Name {
            kind: "shard",
            name,
        }
    }

    /// Removes what all shards of a run have kept; its bytes.
    ///
    /// Errors: someone works on one of them.
    pub fn remove_shards(&self, run: &str) -> Result<u64> {
        let names: Vec<_> = (self.shards_of(run)?.iter())
            .map(|shard| shard.name(run))
            .collect();
        let held = names
            .iter()
            .map(|name| lock::acquire(&self.root, Self::lock_of(name), "removing it", None));
        let _held = held.collect::<Result<Vec<_>>>()?;
        let removed = names.iter().map(|name| self.unfinished(name).remove());
        removed.sum()
    }

    /// Holds the name of a run, to remove what its ingest has kept.
    ///
    /// Errors: someone writes it.
    pub fn remove_unfinished(&self, run: &str) -> Result<()> {
        let of = Name {
            kind: "run",
            name: run,
        };
        let _lock = lock::acquire(&self.root, of, "removing what it kept", None)?;
        self.unfinished_run(run)?.remove()?;
        self.remove_shards(run).map(|_| ())
    }

    /// The files of a run by now, which another ingest replaces; nothing if there are none that can be read.
    pub fn generation(&self, run: &str) -> Option<PathBuf> {
        let run = self.has(run).then(|| self.run(run).ok()).flatten();
        Some(run?.folder().to_path_buf())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards_are_those_of_no_runs() {
        let shard = CorpusShard { number: 2, of: 14 };
        assert_eq!(shard.to_string(), "shard 2 of 14");
        assert_eq!(CorpusShard::parse(&shard.name("a-b")), Some(("a-b", shard)));
        assert!(check_name("run", &shard.name("a-b")).is_err());
        for other in [
            "a",
            "a.1",
            "a.b-of-c",
            "a.01-of-2",
            "a.+1-of-2",
            ".1-of-2",
            "a.1-of-2.x",
        ] {
            assert_eq!(CorpusShard::parse(other), None, "{other}");
        }
    }
}
