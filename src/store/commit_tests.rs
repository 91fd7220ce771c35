//! Runs and their autoencoders, with every change to the disk refused, unconfirmed or the last one. Over 400 lines: one store, and every fault of its disk.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::exec_err;

use super::*;
use crate::files::faults::each;

/// The table `layers` alone, each layer by its name.
fn write_layers(writer: &RunWriter, names: &[&str]) -> Result<()> {
    let n = names.len();
    let ints = |value: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![value; n])) };
    let texts = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..n as i32));
    let kinds = names.iter().map(|name| {
        if name.starts_with("sae") {
            "sae"
        } else {
            "mlp"
        }
    });
    let columns = vec![
        numbers,
        texts(names.to_vec()),
        texts(kinds.collect()),
        ints(4),
        ints(8),
        texts(vec!["relu"; n]),
    ];
    let mut table = writer.table(Table::Layers, None, schema::layers())?;
    table.write(&RecordBatch::try_new(schema::layers(), columns)?)?;
    table.finish()
}

fn facts(run: &str) -> RunManifest {
    RunManifest {
        run: run.to_string(),
        ..RunManifest::default()
    }
}

fn write_run(store: &Store, name: &str, layers: &[&str]) -> Result<()> {
    let writer = store.begin(name, true)?;
    write_layers(&writer, layers)?;
    writer.commit(facts(name))
}

/// An autoencoder whose layer of the run `r` has its name.
fn add_sae(store: &Store, name: &str, weights: &str) -> Result<()> {
    let Extension {
        mut writer,
        facts,
        layers,
        number,
    } = store.extend("r", name, "sae", &mut |_| exec_err!("held"))?;
    let mut names: Vec<_> = layers.iter().map(|row| row.name.as_str()).collect();
    names.push(name);
    write_layers(&writer, &names)?;
    let sae = SaeManifest {
        name: name.to_string(),
        layer: Some(number),
        ..SaeManifest::default()
    };
    let curve = curve(weights);
    writer.add_sae(sae, Some(&curve), |path| Ok(std::fs::write(path, weights)?))?;
    writer.commit(facts)
}

/// The curve of a training that gave these weights.
fn curve(weights: &str) -> RecordBatch {
    let columns = sae_training::columns();
    let counts = Int64Array::from_iter_values(weights.bytes().map(i64::from));
    let column = |kind: &DataType| cast(&counts, kind).expect("numbers");
    let fields = columns.fields().iter();
    let arrays = fields.map(|field| column(field.data_type())).collect();
    RecordBatch::try_new(columns, arrays).expect("its columns")
}

fn weights(store: &Store, name: &str) -> Result<String> {
    let path = store.sae(name)?.weights()?.to_path_buf();
    let text = disk::read(&path).map_err(|e| file_error("read", &path, e))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    // The curve is that of the training that gave them.
    assert_eq!(store.sae(name)?.training_curve()?, Some(curve(&text)));
    Ok(text)
}

/// The layers of kind `sae` are those of the autoencoders that say they have one.
fn layers_and_saes_agree(store: &Store, fault: &str) -> Vec<String> {
    let run = store.run("r").expect(fault);
    let layers = run.layers().expect(fault);
    let layers = layers.iter().filter(|row| row.kind == "sae");
    let layers: Vec<_> = layers
        .map(|row| (row.name.clone(), Some(row.layer)))
        .collect();
    let saes = store.stored_saes().expect(fault);
    let saes = saes
        .into_values()
        .map(|sae| (sae.manifest.name, sae.manifest.layer));
    let mut saes: Vec<_> = saes.filter(|(_, layer)| layer.is_some()).collect();
    saes.sort_by_key(|(_, layer)| *layer);
    assert_eq!(layers, saes, "{fault}");
    layers.into_iter().map(|(name, _)| name).collect()
}

/// The store of another process.
fn store_of(folder: &tempfile::TempDir) -> Store {
    Store::open(folder.path()).expect("a store")
}

fn begun() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    write_run(&store, "r", &["old"]).expect("written");
    add_sae(&store, "sae-a", "a").expect("added");
    (folder, store)
}

#[test]
fn a_run_is_the_old_or_the_new_whatever_fails() {
    let work = |folder: &_| write_run(&store_of(folder), "r", &["new", "newer"]);
    let steps = each(
        || begun().0,
        work,
        |folder, done, fault| {
            let store = store_of(folder);
            let layers = store.run("r").and_then(|run| run.layers()).expect(fault);
            let names: Vec<_> = layers.iter().map(|row| row.name.as_str()).collect();
            let is_new = names == ["new", "newer"];
            assert!(
                is_new || done.is_err() && names == ["old", "sae-a"],
                "{fault}: {names:?}"
            );
            layers_and_saes_agree(&store, fault);
            // What was trained is not lost with the layer.
            assert_eq!(weights(&store, "sae-a").expect(fault), "a");
            write_run(&store, "r", &["next"]).expect(fault);
            assert_eq!(
                disk::entries(&folder.path().join("runs/r"))
                    .expect(fault)
                    .len(),
                2
            );
        },
    );
    assert!(steps > 20, "{steps} changes");
}

#[test]
fn a_layer_and_its_autoencoder_come_together_whatever_fails() {
    let work = |folder: &_| add_sae(&store_of(folder), "sae-b", "b");
    let steps = each(
        || begun().0,
        work,
        |folder, done, fault| {
            let store = store_of(folder);
            let layers = layers_and_saes_agree(&store, fault);
            let both = layers == ["sae-a", "sae-b"];
            assert!(
                both || done.is_err() && layers == ["sae-a"],
                "{fault}: {layers:?}"
            );
            assert_eq!(weights(&store, "sae-a").expect(fault), "a");
            add_sae(&store, "sae-b", "b again").expect(fault);
            assert_eq!(weights(&store, "sae-b").expect(fault), "b again");
            assert_eq!(layers_and_saes_agree(&store, fault), ["sae-a", "sae-b"]);
        },
    );
    assert!(steps > 20, "{steps} changes");
}

#[test]
fn a_replaced_autoencoder_is_the_old_or_the_new_whatever_fails() {
    let work = |folder: &_| add_sae(&store_of(folder), "sae-a", "a again");
    each(
        || begun().0,
        work,
        |folder, done, fault| {
            let store = store_of(folder);
            assert_eq!(layers_and_saes_agree(&store, fault), ["sae-a"]);
            let found = weights(&store, "sae-a").expect(fault);
            assert!(
                found == "a again" || done.is_err() && found == "a",
                "{fault}: {found}"
            );
        },
    );
}

#[test]
fn readers_find_a_whole_run_while_it_is_replaced() {
    let (folder, store) = begun();
    let (ended, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let store = Store::open(folder.path()).expect("a store");
                while !ended.load(Ordering::Relaxed) {
                    let run = store.run("r").expect("a run");
                    // The files are mapped a moment after the manifest was read.
                    std::thread::yield_now();
                    let layers = run.layers().expect("its layers");
                    assert!(layers.len() == 1 || layers.iter().any(|row| row.name == "sae-a"));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..100 {
            write_run(&store, "r", &["old"]).expect("replaced");
            if round % 2 == 0 {
                add_sae(&store, "sae-a", "a").expect("added");
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert!(reads.into_inner() > 100);
    drop(store.begin("other", false).expect("begun"));
    assert_eq!(
        disk::entries(&folder.path().join("runs/r"))
            .expect("a run")
            .len(),
        2
    );
}

#[test]
fn a_damaged_autoencoder_is_named_and_the_others_are_read() {
    let (folder, store) = begun();
    write_run(&store, "other", &["old"]).expect("written");
    let path = store
        .sae("sae-a")
        .expect("stored")
        .weights()
        .expect("whole")
        .to_path_buf();
    std::fs::write(&path, "cut").expect("a file");
    let error = weights(&store, "sae-a").expect_err("damaged").to_string();
    assert!(error.contains("sae-sae-a.safetensors damaged"), "{error}");
    std::fs::write(folder.path().join("runs/other/manifest.json"), "{").expect("a file");
    assert_eq!(store.saes().expect("listed"), ["sae-a"]);
}

#[test]
fn names_in_a_manifest_are_checked() {
    for (place, name) in [
        ("/saes/0/facts/name", "../../mine"),
        ("/saes/0/facts/name", "/etc/hostname"),
        ("/saes/0/facts/name", ""),
        ("/files/0/name", "../mine"),
        ("/files/0/table", "nonsense"),
        ("/generation", ""),
        ("/generation", "../.."),
        ("/generation", "gen-1/../.."),
        ("/generation", "/etc"),
    ] {
        let (folder, store) = begun();
        let mine = folder.path().join("runs/mine");
        std::fs::write(&mine, "mine").expect("a file");
        let path = folder.path().join("runs/r/manifest.json");
        let text = disk::read(&path).expect("a manifest");
        let mut manifest: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        *manifest.pointer_mut(place).expect("a name") = name.into();
        std::fs::write(&path, manifest.to_string()).expect("a file");
        let error = store.run("r").expect_err(name).to_string();
        assert!(error.contains("manifest.json"), "{error}");
        assert!(error.contains("requir"), "{error}");
        write_run(&store, "r", &["new"]).expect(name);
        assert_eq!(
            store
                .run("r")
                .and_then(|run| run.layers())
                .expect(name)
                .len(),
            1
        );
        assert!(mine.exists() && path.exists() && folder.path().join("store.json").exists());
    }
}

#[test]
fn links_in_a_store_are_neither_read_nor_removed_through() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().expect("a folder");
    let linked = |name: &str, link: &dyn Fn(&Path, &Path)| {
        let (folder, store) = begun();
        let run = store.run("r").expect("a run").folder().to_path_buf();
        drop(store);
        link(folder.path(), &run);
        let store = Store::open(folder.path()).expect("a store");
        let read = store.run("r").and_then(|run| run.layers());
        let error = read.expect_err(name).to_string();
        assert!(
            error.contains("required, got a symbolic link"),
            "{name}: {error}"
        );
        let _ = write_run(&store, "r", &["new"]);
        let kept = std::fs::read_dir(outside.path()).expect("outside").count();
        assert_eq!(kept, 1, "{name}");
        std::fs::remove_dir_all(outside.path().join("moved")).expect("what was moved there");
    };
    // Each is moved out of the store, and a link put in its place.
    let moved = outside.path().join("moved");
    linked("the run", &|root, _| {
        std::fs::rename(root.join("runs/r"), &moved).expect("moved");
        symlink(&moved, root.join("runs/r")).expect("a link");
    });
    linked("the generation", &|_, run| {
        std::fs::rename(run, &moved).expect("moved");
        symlink(&moved, run).expect("a link");
    });
    linked("the runs", &|root, _| {
        std::fs::rename(root.join("runs"), &moved).expect("moved");
        symlink(&moved, root.join("runs")).expect("a link");
    });
    linked("a file", &|_, run| {
        std::fs::create_dir(&moved).expect("a folder");
        std::fs::rename(run.join("layers.arrow"), moved.join("layers.arrow")).expect("moved");
        symlink(moved.join("layers.arrow"), run.join("layers.arrow")).expect("a link");
    });
}

#[test]
fn reading_changes_nothing() {
    use crate::files::faults::{Fault, with_fault};
    let (folder, _) = begun();
    let read = || {
        // As on a disk that can only be read.
        let store = store_of(&folder);
        layers_and_saes_agree(&store, "read-only");
        assert_eq!(weights(&store, "sae-a").expect("whole"), "a");
        assert!(store.models().expect("none").is_empty());
    };
    assert!(
        with_fault(Fault::Killed, 0, read).is_none(),
        "a change to the disk"
    );
    let write = || write_run(&store_of(&folder), "new", &["new"]);
    let error = with_fault(Fault::Killed, 0, write)
        .expect("changes")
        .expect_err("refused");
    assert!(
        error.to_string().contains("no space left on device"),
        "{error}"
    );
}

#[test]
fn a_file_that_cannot_be_mapped_is_named_and_mapped_later() {
    use crate::files::faults::without_mapping;
    let (folder, _) = begun();
    let mut mappings = 0;
    let read = |store: &Store| {
        let run = store.run("r")?;
        run.layers().and(run.schema(Table::Documents))
    };
    for at in 0.. {
        let store = store_of(&folder);
        let Some(failed) = without_mapping(at, || read(&store)) else {
            break;
        };
        let error = failed.expect_err("refused").to_string();
        let name = [".arrow: ", "map "];
        assert!(name.iter().all(|part| error.contains(part)), "{error}");
        read(&store).expect("mapped");
        mappings += 1;
    }
    assert!(mappings > 0);
    layers_and_saes_agree(&store_of(&folder), "afterwards");
}

#[test]
fn a_run_that_is_removed_is_there_or_not_and_stays_for_who_reads_it() {
    let work = |folder: &_| store_of(folder).drop_run("r", true);
    each(
        || begun().0,
        work,
        |folder, done, fault| {
            let store = store_of(folder);
            assert!(done.is_err() || !store.has("r"), "{fault}");
            if store.has("r") {
                layers_and_saes_agree(&store, fault);
                store.drop_run("r", true).expect(fault);
            }
            assert!(store.saes().expect(fault).is_empty());
            drop(store.begin("next", false).expect(fault));
            assert!(!folder.path().join("runs/r").exists(), "{fault}");
        },
    );
    let (folder, store) = begun();
    let error = store.drop_run("r", false).expect_err("refused").to_string();
    assert!(
        error.contains("got 'r' with sae-a: drop them with drop_sae first"),
        "{error}"
    );
    let run = store.run("r").expect("a run");
    assert!(store.drop_run("r", true).expect("dropped") > 0);
    assert!(!store.has("r"));
    assert_eq!(run.layers().expect("still read").len(), 2);
    drop(run);
    drop(store.begin("next", false).expect("begun"));
    assert!(!folder.path().join("runs/r").exists());
}
