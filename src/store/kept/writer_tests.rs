//! What a failure at any change to the disk leaves of a table, and how many parts a table has.

use datafusion::arrow::array::{AsArray, Int64Array};
use datafusion::arrow::datatypes::Int64Type;
use tempfile::TempDir;

use super::*;
use crate::files::faults::each;

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

fn name() -> KeptName {
    KeptName::new("notes", "labels")
}

fn change(store: &Store, change: &Change, values: &[i64]) -> Result<()> {
    let wanted = || Ok(());
    let mut writer = KeptWriter::begin(store, &name(), &columns(), change, &wanted)?;
    let values: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    writer.write(&RecordBatch::try_new(columns(), vec![values])?)?;
    writer.commit(&wanted)
}

fn create(store: &Store, values: &[i64]) -> Result<()> {
    change(store, &Change::Create { replace: false }, values)
}

/// The values of a store that is opened anew; none without the table.
fn values(folder: &TempDir) -> Option<Vec<i64>> {
    let store = Store::open(folder.path()).expect("a store");
    let table = store.kept(&name()).expect("whole or not there")?;
    let mut found = vec![];
    for place in table.batches() {
        let batch = table.read(place, &[0]).expect("readable");
        found.extend(batch.column(0).as_primitive::<Int64Type>().values());
    }
    assert_eq!(table.rows(), found.len() as u64);
    Some(found)
}

/// A store with a table of 1, 2 and 3.
fn begin() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    create(&store, &[1, 2]).expect("created");
    change(&store, &Change::Append, &[3]).expect("appended");
    (folder, store)
}

#[test]
fn a_change_is_made_or_not_whatever_fails() {
    let changes: [(Change, &[i64]); 3] = [
        (Change::Append, &[1, 2, 3, 4, 5]),
        (Change::Overwrite, &[4, 5]),
        (Change::Create { replace: true }, &[4, 5]),
    ];
    for (made, after) in changes {
        let steps = each(
            begin,
            |(_, store)| change(store, &made, &[4, 5]),
            |(folder, _), done, fault| {
                let found = values(folder).expect("a table");
                let is_old = done.is_err() && found == [1, 2, 3];
                assert!(found == after || is_old, "{fault}: {found:?}");
                let store = Store::open(folder.path()).expect("a store");
                change(&store, &Change::Append, &[6]).expect(fault);
                assert_eq!(values(folder), Some([&found[..], &[6]].concat()), "{fault}");
                let left = disk::entries(&folder.path().join("tables/notes/labels"));
                assert_eq!(left.expect("a folder").len(), 2, "{fault}");
            },
        );
        assert!(steps > 12, "{steps} changes");
    }
}

#[test]
fn a_first_table_is_there_or_not_whatever_fails() {
    let empty = || {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        (folder, store)
    };
    let steps = each(
        empty,
        |(_, store)| create(store, &[1]),
        |(folder, _), done, fault| {
            let found = values(folder);
            let is_old = done.is_err() && found.is_none();
            assert!(found == Some(vec![1]) || is_old, "{fault}: {found:?}");
            let store = Store::open(folder.path()).expect("a store");
            change(&store, &Change::Create { replace: true }, &[7]).expect(fault);
            assert_eq!(values(folder), Some(vec![7]), "{fault}");
        },
    );
    assert!(steps > 12, "{steps} changes");
}

#[test]
fn a_table_is_dropped_or_not_whatever_fails() {
    each(
        begin,
        |(_, store)| store.drop_schema("notes", true),
        |(folder, _), done, fault| {
            let found = values(folder);
            let is_old = done.is_err() && found == Some(vec![1, 2, 3]);
            assert!(found.is_none() || is_old, "{fault}: {found:?}");
            let store = Store::open(folder.path()).expect("a store");
            if found.is_none() {
                // Nothing comes back with a schema of the name.
                store.create_schema("notes").expect(fault);
                assert_eq!(values(folder), None, "{fault}");
            }
            change(&store, &Change::Create { replace: true }, &[7]).expect(fault);
            assert_eq!(values(folder), Some(vec![7]), "{fault}");
        },
    );
}

#[test]
fn single_rows_make_few_parts() {
    let (folder, store) = begin();
    for n in 4..=64 {
        change(&store, &Change::Append, &[n]).expect("appended");
    }
    let table = store.kept(&name()).expect("readable").expect("a table");
    let parts = table.manifest().parts.len();
    assert!(parts <= 7, "{parts} parts");
    assert_eq!(values(&folder), Some((1..=64).collect()));
}

#[test]
fn a_table_that_is_read_stays_while_it_is_changed() {
    let (folder, store) = begin();
    let table = store.kept(&name()).expect("readable").expect("a table");
    change(&store, &Change::Overwrite, &[9]).expect("written");
    change(&store, &Change::Overwrite, &[10]).expect("written");
    store.drop_schema("notes", true).expect("dropped");
    let rows: usize = (table.batches().into_iter())
        .map(|place| table.read(place, &[0]).expect("readable").num_rows())
        .sum();
    assert_eq!(rows, 3);
    assert_eq!(values(&folder), None);
}

#[test]
fn a_damaged_part_names_itself() {
    let (folder, store) = begin();
    let table = store.kept(&name()).expect("readable").expect("a table");
    let path = table.folder().join(table.manifest().parts[0].file());
    drop(table);
    let bytes = std::fs::read(&path).expect("readable");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("writable");
    let error = store.kept(&name()).expect_err("damaged").to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
    let error = change(&store, &Change::Append, &[4]).expect_err("damaged");
    assert!(error.to_string().contains(&path.display().to_string()));
    change(&store, &Change::Create { replace: true }, &[4]).expect("replaced");
    assert_eq!(values(&folder), Some(vec![4]));
}

#[test]
fn a_name_is_of_a_run_or_a_schema() {
    let (_folder, store) = begin();
    let error = store
        .begin("notes", true)
        .expect_err("a schema")
        .to_string();
    assert!(error.contains("a run name that no schema of tables has is required"));
    let writer = store.begin("mine", false).expect("a new name");
    let error = store.create_schema("mine").expect_err("being made");
    assert!(error.to_string().contains("which another writer holds"));
    drop(writer);
    store.create_schema("mine").expect("a free name");
    for name in [
        "polysema",
        "information_schema",
        "info",
        "public",
        "a b",
        "",
    ] {
        assert!(store.create_schema(name).is_err(), "{name}");
        let name = KeptName::new(name, "t");
        let create = Change::Create { replace: false };
        let begun = KeptWriter::begin(&store, &name, &columns(), &create, &|| Ok(()));
        assert!(begun.is_err(), "{name}");
    }
}
