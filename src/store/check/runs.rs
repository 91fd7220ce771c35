//! The files of a run, and what is lost and what is whole of it when some of them are damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Int32Type, UInt32Type};
use datafusion::error::Result;

use super::one_file::{CheckedFile, KnownBy};
use super::report::{CheckedThing, PartRows, TablePart};
use crate::files::disk;
use crate::files::generations::{Generations, HeldGeneration};
use crate::store::file::TableFile;
use crate::store::gather::VectorColumn;
use crate::store::manifest::{FileEntry, Manifest};
use crate::store::sae_manifest::SaeEntry;
use crate::store::sae_training;
use crate::store::selection::IntSet;
use crate::store::table::Table;

/// What a run's manifest names.
pub(super) struct RunFiles {
    manifest: Manifest,
    folder: PathBuf,
}

/// A file of a run, by its place in what [`RunFiles::list`] gave and before it the manifest, and the record batches lost.
type Lost = (usize, Option<Vec<usize>>);

impl RunFiles {
    pub fn open(of: &Generations, name: &str) -> Result<Option<(Self, HeldGeneration)>> {
        let opened = of.open(|text| {
            let manifest = Manifest::parse(name, &of.pointer(), text)?;
            let generation = manifest.generation.clone();
            Ok((manifest, generation))
        })?;
        Ok(opened.map(|(_, manifest, held)| {
            let folder = held.path().to_path_buf();
            (Self { manifest, folder }, held)
        }))
    }

    /// Its tables, its autoencoders, and what was computed of it and kept.
    pub fn list(&self, folder: &Path) -> Vec<CheckedFile> {
        let tables = self.manifest.files.iter().map(|entry| CheckedFile {
            path: folder.join(&entry.name),
            by: KnownBy::Tail {
                size_bytes: entry.size_bytes,
                rows: entry.batches.iter().map(|batch| batch.rows).collect(),
                tail: entry.tail,
            },
        });
        let saes = self.manifest.saes.iter().map(|sae| CheckedFile {
            path: folder.join(SaeEntry::file_name(&sae.facts.name)),
            by: KnownBy::Hash(sae.hash.clone()),
        });
        let curves = self.manifest.saes.iter().filter_map(|sae| {
            let curve = sae.curve.as_ref()?;
            Some(CheckedFile {
                path: folder.join(sae_training::file_name(&sae.facts.name)),
                by: KnownBy::Tail {
                    size_bytes: curve.size_bytes,
                    rows: vec![curve.rows],
                    tail: Some(curve.tail),
                },
            })
        });
        let entries = disk::entries(folder).unwrap_or_default();
        let cached = entries.into_iter().filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("cached-") && name.ends_with(".arrow"))
        });
        let cached = cached.map(|path| CheckedFile {
            path,
            by: KnownBy::TailBehind,
        });
        tables.chain(saes).chain(curves).chain(cached).collect()
    }

    /// Says of damages, whose files and batches are `lost`, what they take away, and what is left.
    pub fn tell(&self, thing: &mut CheckedThing, lost: &[Lost]) {
        // The manifest is read before them.
        let entry = |at: usize| self.manifest.files.get(at.checked_sub(1)?);
        let mut vectors_left = vec![];
        for (damage, (at, batches)) in thing.damages.iter_mut().zip(lost) {
            let Some(entry) = entry(*at) else { continue };
            let all: Vec<usize> = (0..entry.batches.len()).collect();
            damage.lost = Some(part(entry, batches.as_ref().unwrap_or(&all)));
            if entry.table == Table::Vectors.name() {
                let rows = IntSet::range(0, entry.rows() as i64 - 1);
                let lost = match batches {
                    None => rows.clone(),
                    Some(_) => self.lost_vectors(entry).unwrap_or_else(|| rows.clone()),
                };
                let readers = self.readers(entry, &lost);
                damage.neurons = readers.map_or(vec![], |neurons| neurons.ranges().to_vec());
                let of = |rows: &IntSet| TablePart {
                    table: entry.table.clone(),
                    layer: entry.layer,
                    rows: PartRows::At(rows.ranges().to_vec()),
                };
                vectors_left.push(of(&rows.intersect(&lost.complement())));
                damage.lost = Some(of(&lost));
            }
        }
        for (at, entry) in self.manifest.files.iter().enumerate() {
            let lost = lost.iter().find(|(file, _)| *file == at + 1);
            let whole = match lost {
                None => TablePart {
                    rows: PartRows::All,
                    ..part(entry, &[])
                },
                Some((_, None)) => continue,
                Some(_) if entry.table == Table::Vectors.name() => {
                    let mut left = vectors_left.iter();
                    match left.find(|part| part.layer == entry.layer) {
                        Some(left) => left.clone(),
                        None => continue,
                    }
                }
                Some((_, Some(batches))) => {
                    let left = (0..entry.batches.len()).filter(|batch| !batches.contains(batch));
                    part(entry, &left.collect::<Vec<_>>())
                }
            };
            let none = PartRows::At(vec![]);
            if whole.rows != none && whole.rows != PartRows::OfNeurons(vec![]) {
                thing.whole.push(whole);
            }
        }
    }

    /// The vectors that cannot be read: not all of their record batch, as of other tables.
    fn lost_vectors(&self, entry: &FileEntry) -> Option<IntSet> {
        let path = self.folder.join(&entry.name);
        let file = TableFile::open(&path, Table::Vectors, entry, None).ok()?;
        let vectors = VectorColumn::new(Arc::new(file)).ok()?;
        let rows = i32::try_from(entry.rows()).ok()?;
        let lost = (0..rows).filter(|row| !vectors.is_whole(*row as u32));
        Some(IntSet::of_ascending(lost))
    }

    /// The neurons that have some of these vectors among those of their examples; nothing if it cannot be told.
    fn readers(&self, vectors: &FileEntry, rows: &IntSet) -> Option<IntSet> {
        let mut files = self.manifest.files.iter();
        let examples = files
            .find(|entry| entry.table == Table::Examples.name() && entry.layer == vectors.layer)?;
        let path = self.folder.join(&examples.name);
        let file = TableFile::open(&path, Table::Examples, examples, None).ok()?;
        let lost = |row: u32| {
            let row = i64::from(row);
            let mut ranges = rows.ranges().iter();
            ranges.any(|(first, last)| (*first..=*last).contains(&row))
        };
        let mut neurons = vec![];
        for batch in 0..file.rows().len() {
            let names = ["neuron", "vector", "window_vectors"];
            let [of, vector, windows] = file.columns(batch, names).ok()?;
            let of = of.as_primitive::<Int32Type>();
            let (vector, windows) = (
                vector.as_primitive::<UInt32Type>(),
                windows.as_list::<i32>(),
            );
            for row in 0..of.len() {
                let in_window = || {
                    let window = windows.is_valid(row).then(|| windows.value(row));
                    let window = window.as_ref().map(|w| w.as_primitive::<UInt32Type>());
                    window.is_some_and(|w| w.iter().flatten().any(&lost))
                };
                let neuron = of.value(row);
                if neurons.last() != Some(&neuron) && (lost(vector.value(row)) || in_window()) {
                    neurons.push(neuron);
                }
            }
        }
        Some(IntSet::of_ascending(neurons.into_iter()))
    }
}

/// The rows of some record batches, by their places.
fn places(entry: &FileEntry, batches: &[usize]) -> Vec<(i64, i64)> {
    let mut start = 0;
    let mut ranges = IntSet::range(0, -1);
    for (at, batch) in entry.batches.iter().enumerate() {
        let end = start + i64::from(batch.rows);
        if batches.contains(&at) {
            ranges = ranges.union(&IntSet::range(start, end - 1));
        }
        start = end;
    }
    ranges.ranges().to_vec()
}

/// Some record batches of a table.
fn part(entry: &FileEntry, batches: &[usize]) -> TablePart {
    let by_neuron = Table::stored(&entry.table).is_some_and(Table::by_neuron);
    let rows = match by_neuron {
        true => {
            let batches = batches.iter().map(|batch| entry.batches[*batch]);
            let ranges =
                batches.map(|batch| IntSet::range(i64::from(batch.first), i64::from(batch.last)));
            let neurons = ranges.fold(IntSet::range(0, -1), |a, b| a.union(&b));
            PartRows::of_neurons(&neurons)
        }
        false => PartRows::At(places(entry, batches)),
    };
    TablePart {
        table: entry.table.clone(),
        layer: entry.layer,
        rows,
    }
}
