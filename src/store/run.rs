//! One committed run: its manifest, and its files mapped when a query first needs them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{Float32Type, Int32Type, SchemaRef};
use datafusion::common::cast::as_string_array;
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;

use super::file::TableFile;
use super::gather::{TokenColumn, VectorColumn};
use super::manifest::{FileEntry, Manifest, RunManifest};
use super::names::RUNS;
use super::sae_manifest::SaeEntry;
use super::schema;
use super::table::Table;
use crate::files::generations::HeldGeneration;
use crate::remote::{Elsewhere, Remote};

/// A row of the table `layers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRow {
    /// Its number.
    pub layer: i32,
    /// Its name.
    pub name: String,
    /// `mlp` or `sae`.
    pub kind: String,
    /// Width of the vector a neuron receives.
    pub d_in: i32,
    /// Neurons in the layer.
    pub n_neurons: i32,
    /// `gelu_new`, `relu`, ...; of latents the variant.
    pub activation_function: String,
}

/// The weights of a layer's neurons.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerWeights {
    /// Number of neurons.
    pub n: usize,
    /// `[n, d_in]`, row-major
    pub w_in: Vec<f32>,
    /// `[n, d_out]`, row-major; empty if they are not known
    pub w_out: Vec<f32>,
}

/// A token of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Its id; none of a row that was no token.
    pub id: Option<u32>,
    /// What a reader sees.
    pub text: Option<String>,
}

/// A run as one generation of files; stays readable when the run is replaced or removed.
#[derive(Debug)]
pub struct Run {
    name: String,
    generation: HeldGeneration,
    manifest: Manifest,
    /// Where its files come from, if not from here.
    remote: Option<Arc<Remote>>,
    mapped: Mutex<HashMap<String, Arc<TableFile>>>,
    tokens: Mutex<Option<Arc<TokenColumn>>>,
}

impl Run {
    pub(super) fn new(
        name: &str,
        manifest: Manifest,
        generation: HeldGeneration,
        remote: Option<Arc<Remote>>,
    ) -> Self {
        Self {
            name: name.to_string(),
            generation,
            manifest,
            remote,
            mapped: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// The run's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of this generation's files.
    pub(super) fn folder(&self) -> &Path {
        self.generation.path()
    }

    /// Where its files are, if they are not here, and the path of one of them there.
    pub(super) fn remote(&self, file: &str) -> Option<(&Arc<Remote>, String)> {
        let remote = self.remote.as_ref()?;
        let generation = self.folder().file_name()?.to_str()?;
        Some((remote, format!("{RUNS}/{}/{generation}/{file}", self.name)))
    }

    /// A file of this size that is not here.
    pub(super) fn elsewhere(&self, file: &str, size_bytes: u64) -> Result<Option<Elsewhere>> {
        let found = self.remote(file);
        found
            .map(|(remote, path)| Elsewhere::new(remote, path, size_bytes))
            .transpose()
    }

    /// What was done to make it.
    pub fn manifest(&self) -> &RunManifest {
        &self.manifest.facts
    }

    /// All that its manifest says.
    #[cfg(feature = "cloud")]
    pub(super) fn whole_manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Every file of it.
    pub(super) fn entries(&self) -> &[FileEntry] {
        &self.manifest.files
    }

    /// The autoencoders that belong to it.
    pub(super) fn saes(&self) -> &[SaeEntry] {
        &self.manifest.saes
    }

    /// The files of a table, by layer.
    pub(super) fn files(&self, table: Table) -> Vec<&FileEntry> {
        let mut files: Vec<_> = self
            .manifest
            .files
            .iter()
            .filter(|f| f.table == table.name())
            .collect();
        files.sort_by_key(|f| f.layer);
        files
    }

    /// Rows of a table.
    pub fn rows(&self, table: Table) -> u64 {
        self.files(table).iter().map(|f| f.rows()).sum()
    }

    /// The rows of the table `layers`.
    pub fn layers(&self) -> Result<Vec<LayerRow>> {
        let file = self.map_one(Table::Layers, None)?;
        let mut rows = vec![];
        let names = [
            "layer",
            "d_in",
            "n_neurons",
            "name",
            "kind",
            "activation_function",
        ];
        for batch in 0..file.rows().len() {
            let columns = file.columns(batch, names)?;
            let [layer, d_in, n_neurons, name, kind, function] = &columns;
            let int = |column: &ArrayRef, row| column.as_primitive::<Int32Type>().value(row);
            let text = |column: &ArrayRef, row| column.as_string::<i32>().value(row).to_string();
            rows.extend((0..layer.len()).map(|row| LayerRow {
                layer: int(layer, row),
                name: text(name, row),
                kind: text(kind, row),
                d_in: int(d_in, row),
                n_neurons: int(n_neurons, row),
                activation_function: text(function, row),
            }));
        }
        Ok(rows)
    }

    /// The weights of a layer's neurons.
    ///
    /// Errors: there is no such layer.
    pub fn layer_weights(&self, layer: i32) -> Result<LayerWeights> {
        let file = self.map_one(Table::Neurons, Some(layer))?;
        let (mut n, mut w_in, mut w_out) = (0, vec![], vec![]);
        let append = |column: &ArrayRef, out: &mut Vec<f32>| {
            let list = column.as_list::<i32>();
            let (start, end) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
            let values = list.values().as_primitive::<Float32Type>();
            out.extend_from_slice(&values.values()[start as usize..end as usize]);
        };
        for batch in 0..file.rows().len() {
            let [received, written] = file.columns(batch, ["w_in", "w_out"])?;
            n += received.len();
            append(&received, &mut w_in);
            append(&written, &mut w_out);
        }
        Ok(LayerWeights { n, w_in, w_out })
    }

    /// The largest activation of each of a layer's neurons.
    ///
    /// Errors: there is no such layer.
    pub fn max_activations(&self, layer: i32) -> Result<Vec<f32>> {
        let file = self.map_one(Table::Neurons, Some(layer))?;
        let mut max = vec![];
        for batch in 0..file.rows().len() {
            let [column] = file.columns(batch, ["max_activation"])?;
            max.extend_from_slice(column.as_primitive::<Float32Type>().values());
        }
        Ok(max)
    }

    /// Calls `visit` with the documents and the ids of all tokens, some at a time and in order; an error of `visit` ends it.
    pub fn token_ids(&self, mut visit: impl FnMut(&[i32], &[i32]) -> Result<()>) -> Result<()> {
        let file = self.map_one(Table::Tokens, None)?;
        for batch in 0..file.rows().len() {
            let [documents, ids] = file.columns(batch, ["doc_id", "token_id"])?;
            let values = |column: &ArrayRef| column.as_primitive::<Int32Type>().values().clone();
            visit(&values(&documents), &values(&ids))?;
        }
        Ok(())
    }

    /// The tokens of a document, in order; none where there is no such document.
    pub fn document(&self, doc_id: i32) -> Result<Vec<StoredToken>> {
        let file = self.map_one(Table::Tokens, None)?;
        let n_batches = file.rows().len();
        let documents = |batch: usize| -> Result<ArrayRef> {
            let [documents] = file.columns(batch, ["doc_id"])?;
            Ok(documents)
        };
        // Documents come in order: the first batch that ends with this one or a later one.
        let (mut first, mut end) = (0, n_batches);
        while first < end {
            let middle = first + (end - first) / 2;
            let found = documents(middle)?;
            let last = found.as_primitive::<Int32Type>().values().last().copied();
            match last.is_some_and(|last| last < doc_id) {
                true => first = middle + 1,
                false => end = middle,
            }
        }
        let mut tokens = vec![];
        for batch in first..n_batches {
            let columns = file.columns(batch, ["doc_id", "token_id", "token"])?;
            let [documents, ids, texts] = &columns;
            let documents = documents.as_primitive::<Int32Type>().values();
            let ids = ids.as_primitive::<Int32Type>();
            let texts = as_string_array(texts)?;
            let rows = documents.partition_point(|id| *id < doc_id)
                ..documents.partition_point(|id| *id <= doc_id);
            let goes_on = rows.end == documents.len();
            tokens.extend(rows.map(|row| StoredToken {
                id: ids.is_valid(row).then(|| ids.value(row) as u32),
                text: texts.is_valid(row).then(|| texts.value(row).to_string()),
            }));
            if !goes_on {
                break;
            }
        }
        Ok(tokens)
    }

    /// Columns of a table as SQL sees it.
    pub fn schema(&self, table: Table) -> Result<SchemaRef> {
        match (table, self.files(table).first()) {
            // The corpus brings columns of its own.
            (Table::Documents, Some(entry)) => Ok(Arc::clone(self.map(table, entry)?.schema())),
            (Table::Examples, _) if self.has_signs() => Ok(schema::signed_examples()),
            _ => Ok(table.sql_schema()),
        }
    }

    /// Whether its documents are images.
    pub fn has_images(&self) -> Result<bool> {
        Ok(self.schema(Table::Documents)?.index_of("pixels").is_ok())
    }

    /// Whether its model is a classifier of images, whose neurons see pixels.
    pub fn classifies_images(&self) -> Result<bool> {
        Ok(self.manifest().architecture == "mlp" && self.has_images()?)
    }

    /// Whether its neurons have examples of the least activations beside those of the greatest.
    fn has_signs(&self) -> bool {
        self.manifest()
            .options
            .get("sign")
            .is_some_and(|sign| sign.is_string())
    }

    pub(super) fn map(&self, table: Table, entry: &FileEntry) -> Result<Arc<TableFile>> {
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = mapped.get(&entry.name) {
            return Ok(Arc::clone(file));
        }
        let path = self.folder().join(&entry.name);
        let elsewhere = self.elsewhere(&entry.name, entry.size_bytes)?;
        let file = Arc::new(TableFile::open(&path, table, entry, elsewhere)?);
        mapped.insert(entry.name.clone(), Arc::clone(&file));
        Ok(file)
    }

    fn map_one(&self, table: Table, layer: Option<i32>) -> Result<Arc<TableFile>> {
        let name = FileEntry::name_for(table, layer);
        let entry = self
            .files(table)
            .into_iter()
            .find(|f| f.layer == layer)
            .ok_or_else(|| {
                exec_datafusion_err!("run '{}' requires {name}, got no such file", self.name)
            })?;
        self.map(table, entry)
    }

    pub(super) fn tokens(&self) -> Result<Arc<TokenColumn>> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokens) = tokens.as_ref() {
            return Ok(Arc::clone(tokens));
        }
        let opened = Arc::new(TokenColumn::new(self.map_one(Table::Tokens, None)?)?);
        *tokens = Some(Arc::clone(&opened));
        Ok(opened)
    }

    pub(super) fn vectors(&self, layer: i32) -> Result<VectorColumn> {
        VectorColumn::new(self.map_one(Table::Vectors, Some(layer))?)
    }
}
