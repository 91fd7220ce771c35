//! Models of a store: `models/NAME/model.json` names the generation of files a model is loaded from.

use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use super::Store;
use super::lock::{self, Name, WriteLock};
use super::names::check_name;
use super::source::{FORMAT, Source};
use crate::files::file_sum::FileSum;
use crate::files::generations::{GenerationName, Generations, HeldGeneration, NewGeneration};
use crate::files::{disk, file_error};
use crate::hub::HubPlace;

/// Folder of the stored models.
const MODELS: &str = "models";

#[derive(Serialize, Deserialize)]
struct ModelFile {
    format: u32,
    generation: GenerationName,
    /// What its files have; none where it was written before there were checksums.
    #[serde(default)]
    files: Vec<FileSum>,
}

/// Where a model is read; one of the store stays as it is while this lives.
#[derive(Debug)]
pub struct ModelPath {
    path: PathBuf,
    /// Its name, if it is one of the store.
    name: Option<String>,
    /// What a name of the hub meant.
    of_hub: Option<HubPlace>,
    _generation: Option<HeldGeneration>,
}

impl Deref for ModelPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl ModelPath {
    /// Where a name of the hub was found.
    pub fn of_hub(found: HubPlace) -> Self {
        Self {
            path: found.place.clone(),
            name: None,
            of_hub: Some(found),
            _generation: None,
        }
    }

    /// What a manifest says of it.
    pub fn source(&self, hash: &str) -> Result<Source> {
        let source = match (&self.name, &self.of_hub) {
            (Some(name), _) => Source {
                path: name.clone(),
                ..Source::default()
            },
            (None, Some(found)) => Source::of_hub(found),
            (None, None) => Source::of(&self.path, "")?,
        };
        Ok(Source {
            hash: hash.to_string(),
            ..source
        })
    }
}

impl Store {
    /// Starts writing a model's folder; it becomes visible with [`ModelWriter::commit`].
    ///
    /// Errors: it exists and `replace` is false; another process is making it.
    pub fn begin_model(&self, name: &str, replace: bool) -> Result<ModelWriter> {
        check_name("model", name)?;
        self.prepare()?;
        self.sweep("model", MODELS, |name| self.model(name))?;
        let lock = lock::acquire(
            self.root(),
            Name {
                kind: "model",
                name,
            },
            "making it",
            None,
        )?;
        if !replace && self.has_model(name) {
            return plan_err!(
                "a new model name is required, got '{name}', which exists in {}: pass replace: true to \
                 replace it",
                self.place()
            );
        }
        Ok(ModelWriter {
            root: self.root().to_path_buf(),
            generation: self.model(name).begin()?,
            lock,
        })
    }

    /// Whether a model of this name is stored.
    pub fn has_model(&self, name: &str) -> bool {
        check_name("model", name).is_ok() && self.model(name).exists()
    }

    /// Names of the stored models, sorted.
    pub fn models(&self) -> Result<Vec<String>> {
        let entries = disk::entries(&self.root().join(MODELS))?;
        let names = entries.iter().filter_map(|path| path.file_name()?.to_str());
        let mut names: Vec<_> = names
            .filter(|name| self.has_model(name))
            .map(str::to_string)
            .collect();
        names.sort();
        Ok(names)
    }

    /// Where a model is: the stored model of that name if no file or folder is called so, else the path itself.
    pub fn resolve_model(&self, model: &Path) -> Result<ModelPath> {
        let name = model
            .to_str()
            .filter(|name| check_name("model", name).is_ok());
        match name.filter(|_| !model.exists()) {
            Some(name) => self.stored_model(name),
            None => Ok(ModelPath {
                path: model.to_path_buf(),
                name: None,
                of_hub: None,
                _generation: None,
            }),
        }
    }

    /// Where the model of a manifest is.
    pub fn model_of(&self, source: &Source) -> Result<ModelPath> {
        let path = Path::new(&source.path);
        match path.is_absolute() {
            true => self.resolve_model(path),
            false => self.stored_model(&source.path),
        }
    }

    fn stored_model(&self, name: &str) -> Result<ModelPath> {
        check_name("model", name)?;
        let Some((files, generation)) = self.open_model(name)? else {
            let known = match self.models()?.as_slice() {
                [] => "it has none".to_string(),
                names => format!("stored models: {}", names.join(", ")),
            };
            return exec_err!(
                "a model folder, a safetensors file or a model of {} is required, got '{name}'; {known}",
                self.place()
            );
        };
        for path in disk::entries(generation.path())? {
            disk::open(&path).map_err(|e| file_error("open", &path, e))?;
        }
        for file in files {
            file.check_all(generation.path(), |_| Ok(()))?;
        }
        Ok(ModelPath {
            path: generation.path().to_path_buf(),
            name: Some(name.to_string()),
            of_hub: None,
            _generation: Some(generation),
        })
    }

    /// What the files of a model have, and their folder; nothing if there is no such model.
    pub(super) fn open_model(&self, name: &str) -> Result<Option<(Vec<FileSum>, HeldGeneration)>> {
        let place = self.model(name);
        let opened = place.open(|text| parse(&place.pointer(), text))?;
        Ok(opened.map(|(_, files, generation)| (files, generation)))
    }

    /// Removes a model. Those who read it go on; its files go when they have ended. The bytes it had.
    ///
    /// Errors: there is no such model; someone is making it.
    pub fn drop_model(&self, name: &str) -> Result<u64> {
        if !self.has_model(name) {
            return self.unknown_model(name);
        }
        let of = Name {
            kind: "model",
            name,
        };
        let _lock = lock::acquire(self.root(), of, "removing it", None)?;
        let _commit = lock::store(self.root())?;
        self.model(name).remove()
    }

    fn unknown_model<T>(&self, name: &str) -> Result<T> {
        let known = match self.models()?.as_slice() {
            [] => "it has none".to_string(),
            names => format!("stored models: {}", names.join(", ")),
        };
        exec_err!(
            "a model of {} is required, got '{name}'; {known}",
            self.place()
        )
    }

    pub(super) fn model(&self, name: &str) -> Generations {
        Generations::new(self.root().join(MODELS).join(name), "model.json")
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<(Vec<FileSum>, GenerationName)> {
    let file: ModelFile = serde_json::from_slice(text)
        .map_err(|e| exec_datafusion_err!("read {}: {e}", path.display()))?;
    match file.format == FORMAT {
        true => Ok((file.files, file.generation)),
        false => exec_err!(
            "{} needs store version {FORMAT}, got version {}: make the model again with replace: true",
            path.display(),
            file.format
        ),
    }
}

/// A model's folder being filled; invisible until [`ModelWriter::commit`], gone when dropped without it.
#[derive(Debug)]
pub struct ModelWriter {
    root: PathBuf,
    generation: NewGeneration,
    lock: WriteLock,
}

impl ModelWriter {
    /// The folder to fill.
    pub fn folder(&self) -> &Path {
        self.generation.path()
    }

    /// Writes one file of it.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.folder().join(name);
        let written = disk::create_new(&path).and_then(|mut file| file.write_all(content));
        written.map_err(|e| file_error("write", &path, e))
    }

    /// Makes it the model of its name.
    pub fn commit(self) -> Result<()> {
        let files = disk::entries(self.generation.path())?;
        let files = files.iter().map(|path| FileSum::of(path));
        let file = ModelFile {
            format: FORMAT,
            generation: self.generation.name().clone(),
            files: files.collect::<Result<_>>()?,
        };
        let path = self.generation.of().pointer();
        let text = serde_json::to_vec(&file)
            .map_err(|e| exec_datafusion_err!("write {}: {e}", path.display()))?;
        self.generation.sync()?;
        let commit = lock::store(&self.root)?;
        let committed = self.generation.commit(&text);
        drop((commit, self.lock));
        committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::faults::each;

    fn write(store: &Store, replace: bool, content: &str) -> Result<()> {
        let writer = store.begin_model("m", replace)?;
        writer.write("config.json", content.as_bytes())?;
        writer.write("model.safetensors", content.as_bytes())?;
        writer.commit()
    }

    fn read(store: &Store, name: &str) -> Result<String> {
        let model = store.resolve_model(Path::new(name))?;
        let [config, weights] =
            ["config.json", "model.safetensors"].map(|name| disk::read(&model.join(name)));
        let config = config?;
        assert_eq!(config, weights?);
        Ok(String::from_utf8_lossy(&config).into_owned())
    }

    #[test]
    fn a_model_is_the_old_or_the_new_whatever_fails() {
        let begin = || {
            let folder = tempfile::tempdir().expect("a folder");
            let store = Store::open(folder.path()).expect("a store");
            write(&store, false, "old").expect("written");
            (folder, store)
        };
        let steps = each(
            begin,
            |(_, store)| write(store, true, "new"),
            |(folder, _), done, fault| {
                let store = Store::open(folder.path()).expect("a store");
                let found = read(&store, "m").expect(fault);
                assert!(
                    found == "new" || done.is_err() && found == "old",
                    "{fault}: {found}"
                );
                write(&store, true, "next").expect(fault);
                assert_eq!(read(&store, "m").expect(fault), "next");
                assert_eq!(
                    disk::entries(&folder.path().join("models/m"))
                        .expect(fault)
                        .len(),
                    2
                );
            },
        );
        assert!(steps > 12, "{steps} changes");
    }

    #[test]
    fn a_model_that_is_read_stays_while_it_is_replaced() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        write(&store, false, "old")?;
        let model = store.resolve_model(Path::new("m"))?;
        write(&store, true, "new")?;
        assert_eq!(disk::read(&model.join("config.json"))?, b"old");
        assert_eq!(read(&store, "m")?, "new");
        Ok(())
    }

    #[test]
    fn a_link_in_a_model_is_not_read() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        write(&store, false, "old")?;
        let model = store.resolve_model(Path::new("m"))?.to_path_buf();
        std::fs::remove_file(model.join("config.json"))?;
        std::os::unix::fs::symlink("/etc/hostname", model.join("config.json"))?;
        let error = store
            .resolve_model(Path::new("m"))
            .expect_err("a link")
            .to_string();
        assert!(
            error.contains("config.json: a file is required, got a symbolic link"),
            "{error}"
        );
        Ok(())
    }
}
