//! Uploads into a bucket in memory of which each question fails once, before or after it has its effect.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::*;
use crate::store::{RunManifest, Table, schema};

/// Objects of which one question fails.
#[derive(Debug)]
struct Failing {
    objects: Arc<InMemory>,
    asked: AtomicUsize,
    fails: usize,
    /// Whether it fails after it was done.
    late: bool,
}

impl Failing {
    fn new(objects: &Arc<InMemory>, fails: usize, late: bool) -> Arc<Self> {
        Arc::new(Self {
            objects: Arc::clone(objects),
            asked: AtomicUsize::new(0),
            fails,
            late,
        })
    }

    async fn ask<T>(
        &self,
        question: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        let fails = self.asked.fetch_add(1, Ordering::Relaxed) == self.fails;
        if fails && self.late {
            question.await?;
        } else if !fails {
            return question.await;
        }
        Err(Error::Generic {
            store: "test",
            source: "no connection".into(),
        })
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failing")
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        key: &Key,
        bytes: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.ask(self.objects.put_opts(key, bytes, options)).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Key,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> object_store::Result<GetResult> {
        self.ask(self.objects.get_opts(key, options)).await
    }

    async fn get_ranges(
        &self,
        key: &Key,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<bytes::Bytes>> {
        self.objects.get_ranges(key, ranges).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, object_store::Result<Key>>,
    ) -> BoxStream<'static, object_store::Result<Key>> {
        let fails = self.asked.fetch_add(1, Ordering::Relaxed) == self.fails;
        match fails {
            false => self.objects.delete_stream(keys),
            true => futures::stream::iter([Err(Error::Generic {
                store: "test",
                source: "no connection".into(),
            })])
            .boxed(),
        }
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> object_store::Result<ListResult> {
        self.ask(self.objects.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(
        &self,
        from: &Key,
        to: &Key,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// A run with the table `layers` alone, of so many.
fn write_run(store: &Store, layers: usize) {
    let written = || -> Result<()> {
        let writer = store.begin("r", true)?;
        let ints = |value: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![value; layers])) };
        let texts = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; layers])) };
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..layers as i32));
        let columns = vec![
            numbers,
            texts("l"),
            texts("mlp"),
            ints(4),
            ints(8),
            texts("relu"),
        ];
        let mut table = writer.table(Table::Layers, None, schema::layers())?;
        table.write(&RecordBatch::try_new(schema::layers(), columns)?)?;
        table.finish()?;
        writer.commit(RunManifest {
            run: "r".to_string(),
            ..RunManifest::default()
        })
    };
    written().expect("a run");
}

fn bucket(objects: Arc<dyn ObjectStore>) -> BucketFolder {
    let address = "s3://bucket/a/s".parse().expect("an address");
    BucketFolder::of(objects, address).expect("a bucket")
}

/// Every object and its bytes.
fn contents(objects: &InMemory) -> BTreeMap<String, Vec<u8>> {
    let all = async {
        let keys: Vec<_> = objects.list(None).try_collect().await?;
        let mut all = BTreeMap::new();
        for found in keys {
            let bytes = objects.get(&found.location).await?.bytes().await?;
            all.insert(found.location.to_string(), bytes.to_vec());
        }
        Ok::<_, Error>(all)
    };
    futures::executor::block_on(all).expect("objects")
}

/// The layers of the run that is read, all of whose files are there.
fn layers(objects: &InMemory) -> usize {
    let contents = contents(objects);
    let manifest = &contents[&format!("a/s/{RUNS}/r/{MANIFEST}")];
    assert!(seal::is_sealed(Path::new(MANIFEST), manifest).expect("whole"));
    let manifest = Manifest::parse("r", Path::new(MANIFEST), manifest).expect("a manifest");
    let generation = String::from(manifest.generation.clone());
    for file in &manifest.files {
        let found = &contents[&format!("a/s/{RUNS}/r/{generation}/{}", file.name)];
        assert_eq!(found.len() as u64, file.size_bytes);
    }
    manifest.files[0].rows() as usize
}

#[test]
fn any_question_may_fail() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("s")).expect("a store");
    let go_on = |_| Ok(());
    for first in [false, true] {
        for late in [false, true] {
            let mut fails = 0;
            loop {
                let objects = Arc::new(InMemory::new());
                if !first {
                    write_run(&store, 2);
                    let uploaded = store.upload(
                        &[],
                        &bucket(Arc::<InMemory>::clone(&objects)),
                        false,
                        &go_on,
                    );
                    assert_eq!(uploaded.expect("written").files, 1);
                    assert_eq!(layers(&objects), 2);
                }
                write_run(&store, 5);
                let failing = Failing::new(&objects, fails, late);
                let outcome =
                    store.upload(&[], &bucket(Arc::<Failing>::clone(&failing)), true, &go_on);
                let has_run = contents(&objects).contains_key(&format!("a/s/{RUNS}/r/{MANIFEST}"));
                assert!(has_run || first);
                if has_run {
                    let found = layers(&objects);
                    assert!(
                        found == 5 || (!first && outcome.is_err() && found == 2),
                        "{fails}"
                    );
                }
                // Once more, and nothing of either is left but what counts.
                let whole = bucket(Arc::<InMemory>::clone(&objects));
                store.upload(&[], &whole, true, &go_on).expect("written");
                assert_eq!(layers(&objects), 5);
                let again = store.plan_upload("r", &whole, true).expect("a run");
                let files = again.files.clone();
                whole.upload(files, &go_on).expect("its files");
                assert!(again.commit(&whole).expect("its manifest"));
                again.sweep(&whole, -1).expect("removed");
                assert_eq!(contents(&objects).len(), 4, "{fails}");
                assert_eq!(layers(&objects), 5);
                if failing.asked.load(Ordering::Relaxed) <= fails {
                    assert!(outcome.is_ok());
                    break;
                }
                fails += 1;
            }
            assert!(fails > 6, "{fails}");
        }
    }
}

#[test]
fn a_writer_that_saw_what_is_no_more_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&folder.path().join("s")).expect("a store");
    write_run(&store, 2);
    let objects = Arc::new(InMemory::new());
    let bucket = bucket(Arc::<InMemory>::clone(&objects));
    let go_on = |_| Ok(());
    let late = store.plan_upload("r", &bucket, false).expect("a run");
    store.upload(&[], &bucket, false, &go_on).expect("written");
    let before = contents(&objects);
    let error = late.write(&bucket, &go_on).expect_err("late");
    assert!(
        error
            .strip_backtrace()
            .contains("written or removed meanwhile")
    );
    assert_eq!(contents(&objects), before);
    // So is one that is ended, which takes back what it wrote.
    let ended = AtomicUsize::new(0);
    let ends = |_| match ended.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(()),
        _ => exec_err!("cancelled"),
    };
    let error = store.upload(&[], &bucket, true, &ends).expect_err("ended");
    assert!(error.strip_backtrace().contains("cancelled"));
    assert_eq!(contents(&objects), before);
}
