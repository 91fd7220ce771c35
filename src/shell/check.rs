//! `polysema check`: reads all of a store, or of some runs, and says what is damaged and what is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use datafusion::common::exec_err;
use datafusion::error::DataFusionError;
use tokio::runtime::Runtime;

use super::failure::{self, Failure};
use super::interrupt::Interrupts;
use crate::store::{CheckedThing, Damage, PartRows, Store, TablePart};
use crate::text::describe;

/// The arguments of `polysema check`.
#[derive(Debug, clap::Args)]
#[command(
    about = "Read everything the store keeps and compare it with its checksums",
    long_about = "Read everything the store keeps and compare it with its checksums.\n\nA damaged file is named with what \
                  cannot be read of it, and what else of its run is whole. Exit code 0: all is whole, 1: something is damaged."
)]
pub struct CheckCommand {
    /// Runs to check; everything in the store when none is given
    #[arg(value_name = "RUN")]
    runs: Vec<String>,
}

/// Checks; Ctrl-C ends it.
pub fn run(
    runtime: &Runtime,
    command: &CheckCommand,
    store: &Path,
    quiet: bool,
    interrupts: &Interrupts,
) -> Result<(), Failure> {
    let (root, runs) = (store.to_path_buf(), command.runs.clone());
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    let started = Instant::now();
    let work = move || {
        let go_on = |_| match end.load(Ordering::Relaxed) {
            true => exec_err!("cancelled"),
            false => Ok(()),
        };
        Store::open(&root)?.check(&runs, &go_on)
    };
    let checking = runtime.spawn_blocking(work);
    let checked = runtime.block_on(async {
        tokio::select! {
            () = interrupts.pressed() => Err(Failure::interrupted()),
            checked = checking => match checked {
                Ok(Ok(checked)) => Ok(checked),
                Ok(Err(error)) => Err(failed(&error)),
                Err(error) => Err(failure::lost(error)),
            },
        }
    });
    ended.store(true, Ordering::Relaxed);
    let checked = checked?;
    let seconds = started.elapsed().as_secs_f64();
    let damages: usize = checked.iter().map(|thing| thing.damages.len()).sum();
    let mut text = String::new();
    for thing in &checked {
        text += &of_thing(thing, store);
    }
    if damages > 0 || !quiet {
        text += &summary(&checked, seconds, damages);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    match damages {
        0 => Ok(()),
        n => Err(Failure::Error(format!(
            "error: a whole store is required, got {} damaged in {}",
            count(n as u64, "file"),
            store.display()
        ))),
    }
}

pub(super) fn failed(error: &DataFusionError) -> Failure {
    Failure::Error(format!("error: {}", describe(error)))
}

pub(super) fn count(n: u64, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let unit = units.iter().find(|(unit, _)| bytes as f64 >= *unit);
    match unit {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit),
        None => format!("{bytes} bytes"),
    }
}

fn summary(checked: &[CheckedThing], seconds: f64, damages: usize) -> String {
    let files: u64 = checked.iter().map(|thing| thing.files).sum();
    let bytes: u64 = checked.iter().map(|thing| thing.bytes).sum();
    let unverified: u64 = checked.iter().map(|thing| thing.unverified).sum();
    let state = match (damages, unverified) {
        (0, 0) => "all whole".to_string(),
        (0, n) => format!("{n} not verified, all others whole"),
        (n, _) => format!("{n} damaged"),
    };
    let (files, bytes) = (count(files, "file"), size(bytes));
    format!("{files}, {bytes} read in {seconds:.2} s: {state}\n")
}

/// What is said of one thing: nothing if it is whole.
fn of_thing(thing: &CheckedThing, store: &Path) -> String {
    let name = match thing.name.as_str() {
        "" => thing.kind.to_string(),
        name => format!("{} {name}", thing.kind),
    };
    let within = |file: &Path| {
        let file = file.strip_prefix(store).unwrap_or(file);
        file.display().to_string()
    };
    let mut text = String::new();
    if thing.unverified > 0 {
        let files = count(thing.unverified, "file");
        text += &format!("{name}: {files} written before there were checksums: not verified\n");
    }
    for cached in &thing.caches {
        let file = within(cached);
        text += &format!("{name}: {file} is damaged and is computed anew when it is needed\n");
    }
    if thing.damages.is_empty() {
        return text;
    }
    text += &format!("{name}: damaged\n");
    for damage in &thing.damages {
        text += &format!(
            "  {}: {}{}\n",
            within(&damage.file),
            damage.problem,
            lost(damage)
        );
    }
    if !thing.whole.is_empty() {
        text += &format!("  whole: {}\n", whole(thing));
    }
    text
}

/// What a damage takes away.
fn lost(damage: &Damage) -> String {
    let Some(part) = &damage.lost else {
        return String::new();
    };
    let mut text = match &part.rows {
        PartRows::OfNeurons(ranges) | PartRows::At(ranges) if ranges.is_empty() => {
            "; no row is lost".to_string()
        }
        _ => format!("; lost: {}", described(part)),
    };
    if part.table == "vectors" {
        text += &match damage.neurons.as_slice() {
            [] => String::new(),
            neurons => format!(", so pre_mlp of examples of neurons {}", ranges(neurons)),
        };
    }
    text
}

fn ranges(ranges: &[(i64, i64)]) -> String {
    let texts = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// A part of a table in words.
fn described(part: &TablePart) -> String {
    let layer = part.layer.map(|layer| format!(" of layer {layer}"));
    let of = format!("{}{}", part.table, layer.unwrap_or_default());
    match &part.rows {
        PartRows::All => of,
        PartRows::OfNeurons(neurons) => format!("{of}, neurons {}", ranges(neurons)),
        PartRows::At(rows) => format!("{of}, rows {}", ranges(rows)),
    }
}

/// What is whole of a run: tables, layers of those that are damaged, and parts of layers.
fn whole(thing: &CheckedThing) -> String {
    let damaged: BTreeSet<_> = (thing.damages.iter())
        .filter_map(|damage| Some(damage.lost.as_ref()?.table.as_str()))
        .collect();
    let mut tables = BTreeSet::new();
    let mut layers: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let mut parts = vec![];
    for part in &thing.whole {
        match (
            damaged.contains(part.table.as_str()),
            &part.rows,
            part.layer,
        ) {
            (false, ..) => {
                tables.insert(part.table.clone());
            }
            (true, PartRows::All, Some(layer)) => {
                layers
                    .entry(&part.table)
                    .or_default()
                    .push(i64::from(layer));
            }
            _ => parts.push(described(part)),
        }
    }
    let layers = layers.into_iter().map(|(table, mut layers)| {
        layers.sort_unstable();
        let mut found: Vec<(i64, i64)> = vec![];
        for layer in layers {
            match found.last_mut() {
                Some(last) if last.1 + 1 == layer => last.1 = layer,
                _ => found.push((layer, layer)),
            }
        }
        let several = found.len() > 1 || found[0].0 < found[0].1;
        let word = if several { "layers" } else { "layer" };
        format!("{table} of {word} {}", ranges(&found))
    });
    let tables = (!tables.is_empty()).then(|| tables.into_iter().collect::<Vec<_>>().join(", "));
    let all = tables.into_iter().chain(layers).chain(parts);
    all.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ranges_in_words() {
        assert_eq!(size(999), "999 bytes");
        assert_eq!(size(16_384), "16.4 kB");
        assert_eq!(size(1_500_000_000), "1.5 GB");
        assert_eq!(ranges(&[(0, 3), (5, 5)]), "0 to 3, 5");
    }

    #[test]
    fn what_is_left_of_a_run_is_told_by_table_layer_and_neuron() {
        let part = |table: &str, layer, rows| TablePart {
            table: table.to_string(),
            layer,
            rows,
        };
        let thing = CheckedThing {
            kind: "run",
            name: "demo".to_string(),
            damages: vec![Damage {
                file: "s/runs/demo/gen-1/examples-1.arrow".into(),
                problem: "bytes 0 to 9 have another checksum".to_string(),
                lost: Some(part("examples", Some(1), PartRows::OfNeurons(vec![(3, 4)]))),
                neurons: vec![],
            }],
            whole: vec![
                part("examples", Some(3), PartRows::All),
                part("examples", Some(0), PartRows::All),
                part(
                    "examples",
                    Some(1),
                    PartRows::OfNeurons(vec![(0, 2), (5, 6)]),
                ),
                part("examples", Some(2), PartRows::All),
                part("tokens", None, PartRows::All),
                part("neurons", Some(0), PartRows::All),
                part("neurons", Some(1), PartRows::All),
            ],
            ..CheckedThing::default()
        };
        assert_eq!(
            of_thing(&thing, Path::new("s")),
            "run demo: damaged\n  \
             runs/demo/gen-1/examples-1.arrow: bytes 0 to 9 have another checksum; lost: examples of layer 1, neurons 3 to 4\n  \
             whole: neurons, tokens; examples of layers 0, 2 to 3; examples of layer 1, neurons 0 to 2, 5 to 6\n"
        );
        assert_eq!(of_thing(&CheckedThing::default(), Path::new("s")), "");
    }
}
