//! The folder of this machine with what was read of stores elsewhere. What was used longest ago goes when they take more
//! than a bound together, but for what someone reads.

use std::env;
use std::path::PathBuf;

use datafusion::common::{exec_err, plan_datafusion_err};
use datafusion::error::Result;
use url::Url;

use crate::files::{disk, file_error, sparse};
use crate::text::parse_size;

/// Most bytes, where POLYSEMA_CACHE_LIMIT says nothing. Chosen: some runs of a small model.
const BOUND: u64 = 8 << 30;
/// Hexadecimal digits of an address's hash that tell stores of one host apart.
const DIGITS: usize = 16;
/// The file that says when a store was used last.
const USED: &str = "used";

#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    pub(super) bound: u64,
}

impl Cache {
    /// As POLYSEMA_CACHE and POLYSEMA_CACHE_LIMIT say.
    pub(super) fn of_environment() -> Result<Self> {
        Self::of(&|name| env::var(name).ok())
    }

    fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = || Some(PathBuf::from(given("HOME")?).join(".cache"));
        let usual = || {
            let caches = given("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
            Some(caches?.join("polysema"))
        };
        let Some(folder) = given("POLYSEMA_CACHE").map(PathBuf::from).or_else(usual) else {
            return exec_err!(
                "a folder for what is read of stores elsewhere is required in POLYSEMA_CACHE, got none and no HOME"
            );
        };
        let bound = match given("POLYSEMA_CACHE_LIMIT") {
            None => BOUND,
            Some(text) => {
                let size = parse_size(&text);
                size.map_err(|e| plan_datafusion_err!("POLYSEMA_CACHE_LIMIT: {e}"))? as u64
            }
        };
        Ok(Self { folder, bound })
    }

    /// The folder of a store, which is there then.
    pub(super) fn folder_of(&self, address: &Url) -> Result<PathBuf> {
        let hash = blake3::hash(address.as_str().trim_end_matches('/').as_bytes());
        let host = address.host_str().unwrap_or_default();
        let host = host.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "_");
        let name = format!("{host}-{}", &hash.to_hex()[..DIGITS]);
        let folder = self.folder.join(name);
        disk::create_folders(&folder).map_err(|e| file_error("create", &folder, e))?;
        Ok(folder)
    }

    /// Notes that a store is used, and removes what was read of others while all take more than the bound; what they take
    /// then.
    pub(super) fn make_room(&self, used: &PathBuf) -> Result<u64> {
        let mark = used.join(USED);
        let marked = sparse::make(&mark, 0).and_then(|()| sparse::touch(&mark));
        marked.map_err(|e| file_error("write", &mark, e))?;
        let mut taken = sparse::taken(&self.folder)?;
        let mut others = disk::entries(&self.folder)?;
        others.retain(|folder| folder != used);
        others.sort_by_key(|folder| folder.join(USED).metadata().and_then(|m| m.modified()).ok());
        for store in others {
            if taken <= self.bound {
                break;
            }
            let before = sparse::taken(&store)?;
            for run in disk::entries(&store.join("runs"))? {
                for generation in disk::entries(&run)? {
                    if disk::is_folder(&generation).is_ok_and(|is| is) {
                        sparse::give_up(&generation)?;
                    }
                }
            }
            taken = taken.saturating_sub(before - sparse::taken(&store)?.min(before));
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(variables: &[(&str, &str)]) -> Result<Cache> {
        Cache::of(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_string())
        })
    }

    #[test]
    fn the_folder_and_the_bound_are_those_of_the_environment() {
        for (variables, folder, bound) in [
            (vec![("HOME", "/h")], "/h/.cache/polysema", BOUND),
            (
                vec![("HOME", "/h"), ("XDG_CACHE_HOME", "/x")],
                "/x/polysema",
                BOUND,
            ),
            (
                vec![("POLYSEMA_CACHE", "/c"), ("POLYSEMA_CACHE_LIMIT", "2GiB")],
                "/c",
                2 << 30,
            ),
        ] {
            let found = cache(&variables).expect("a cache");
            assert_eq!((found.folder, found.bound), (PathBuf::from(folder), bound));
        }
        assert!(cache(&[]).is_err());
        let error = cache(&[("HOME", "/h"), ("POLYSEMA_CACHE_LIMIT", "much")]);
        let error = error.expect_err("refused").strip_backtrace();
        assert!(error.contains("POLYSEMA_CACHE_LIMIT: a size as"), "{error}");
    }

    #[test]
    fn what_was_used_longest_ago_goes_unless_it_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache {
            folder: folder.path().to_path_buf(),
            bound: 100 << 10,
        };
        let of = |name: &str| {
            let url = Url::parse(&format!("http://a.example/{name}")).expect("an address");
            cache.folder_of(&url).expect("a folder")
        };
        let stores = ["read", "old", "new", "used"].map(of);
        for (age, store) in (0_u64..).zip(&stores) {
            let generation = store.join("runs/r/gen-1");
            disk::create_folders(&generation).expect("folders");
            std::fs::write(generation.join("a"), vec![1; 40 << 10]).expect("a file");
            let mark = std::fs::File::create(store.join(USED)).expect("a file");
            let used = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age);
            mark.set_modified(used).expect("a time");
        }
        let held = disk::hold(&stores[0].join("runs/r/gen-1"), false).expect("held");
        let taken = cache.make_room(&stores[3]).expect("room");
        let left = stores
            .each_ref()
            .map(|store| store.join("runs/r/gen-1/a").exists());
        assert_eq!(left, [true, false, false, true]);
        assert!(taken <= 100 << 10, "{taken}");
        drop(held);
    }
}
