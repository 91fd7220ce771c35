//! `polysema publish`: a run's pages as files, which outlive any server: the explorer's own pages, their links led to files,
//! and what their script reads where no server answers.

mod index;
mod packed;
mod site;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::Int32Type;
use datafusion::common::{exec_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::assets;
use super::explorer::Explorer;
use super::guards::Guards;
use super::page::{Reached, WebPage, site_html};
use super::pages;
use super::trouble::Trouble;
use super::visit::Visit;
use crate::files::whole::NewFolder;
use crate::session::{Engine, EngineOptions, Session};
use crate::store::{LayerRow, Run};
use crate::text::describe;
use index::{COLUMNS, NEURONS_OF_PART, WordIndex, rows_script, table_rows};
pub(super) use index::{part_file, parts};
pub(super) use packed::packed;
pub(super) use site::{SitePage, WebSite};

/// A file by which a folder is known for a site of ours.
const MARK: &str = "polysema-site.json";
/// Pages that are made at once.
const AT_ONCE: usize = 8;
/// Between two looks at a page of which something is still computed.
const WAIT: Duration = Duration::from_millis(50);

/// What is published, and where.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// The store and its memory.
    pub engine: EngineOptions,
    /// The run.
    pub run: String,
    /// Which of its neurons have a page, as a condition on the columns of `neurons`; all of them where there is none.
    pub neurons: Option<String>,
    /// The site's folder.
    pub out: PathBuf,
    /// Whether a site that is there is replaced.
    pub replace: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishStep {
    /// Pages that are written.
    pub done: usize,
    /// Of how many.
    pub total: usize,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// Pages of neurons.
    pub neurons: usize,
    /// Pages of documents.
    pub documents: usize,
    /// Files in all.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The bytes of the largest.
    pub largest: u64,
    /// Time until the last file is on disk.
    pub seconds: f64,
}

/// Writes a run's pages as files into a folder, which appears whole or not at all; `told` hears how far it is.
///
/// Errors: the store cannot be opened; it has no such run, or another one before the end; the condition is none, or no neuron is
/// so; something else is in the folder's place; the disk refuses.
pub async fn publish(
    options: &PublishOptions,
    told: impl Fn(PublishStep) + Sync,
) -> Result<Published> {
    let began = Instant::now();
    replaceable(&options.out, options.replace)?;
    let engine = Engine::open(&options.engine)?;
    let run = engine.store().run(&options.run)?;
    let guards = Guards {
        port: 0,
        proxy: None,
    };
    let mut explorer = Explorer::new(engine, guards);
    let session = explorer.without_run()?;
    session.select_run(&options.run).await?;
    let neurons = chosen(&session, options.neurons.as_deref()).await?;
    let only = options.neurons.as_ref().map(|_| {
        let mut only = BTreeMap::<i32, BTreeSet<i32>>::new();
        for (layer, neuron) in &neurons {
            only.entry(*layer).or_default().insert(*neuron);
        }
        only
    });
    explorer.site = Some(WebSite::new(&run, only));
    let publisher = Arc::new(Publisher {
        explorer: Arc::new(explorer),
        run,
        session,
        folder: NewFolder::create(&options.out)?,
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        largest: AtomicU64::new(0),
    });
    let documents = publisher.write(&neurons, &told).await?;
    let now = publisher.explorer.engine.store().run(&options.run)?;
    if !Arc::ptr_eq(&now, &publisher.run) {
        return exec_err!(
            "publish: a run that stays as it is is required, got {}, which was replaced meanwhile",
            options.run
        );
    }
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let mut published = Published {
        neurons: neurons.len(),
        documents,
        files: count(&publisher.files),
        bytes: count(&publisher.bytes),
        largest: count(&publisher.largest),
        seconds: 0.0,
    };
    let replace = options.replace;
    let commit = move || match Arc::into_inner(publisher) {
        Some(publisher) => publisher.folder.commit(|place| replaceable(place, replace)),
        None => exec_err!("publish: pages are still being written"),
    };
    let committed = tokio::task::spawn_blocking(commit).await;
    committed.map_err(|error| DataFusionError::External(Box::new(error)))??;
    published.seconds = began.elapsed().as_secs_f64();
    Ok(published)
}

/// Whether a site may take a place.
fn replaceable(place: &Path, replace: bool) -> Result<()> {
    let is_empty = |place: &Path| {
        place
            .read_dir()
            .is_ok_and(|mut inside| inside.next().is_none())
    };
    if place.symlink_metadata().is_err() || is_empty(place) {
        return Ok(());
    }
    if !place.join(MARK).is_file() {
        return exec_err!(
            "publish: a new or an empty folder, or one that polysema published, is required, got {}",
            place.display()
        );
    }
    if !replace {
        return exec_err!(
            "publish: --replace is required where a site is, got {} without",
            place.display()
        );
    }
    Ok(())
}

/// The neurons that a condition holds for, in order.
async fn chosen(session: &Session, condition: Option<&str>) -> Result<Vec<(i32, i32)>> {
    let only = condition.map_or(String::new(), |condition| format!("\nWHERE ({condition})"));
    let sql = format!("SELECT layer, neuron\nFROM neurons{only}\nORDER BY layer, neuron");
    let planned = session.query(&sql).await;
    let mut rows = match (planned, condition) {
        (Err(error), Some(condition)) => {
            return plan_err!(
                "publish: a condition on the columns of neurons is required, got '{condition}': {}",
                describe(&error)
            );
        }
        (planned, _) => planned?,
    };
    let mut neurons = vec![];
    while let Some(batch) = rows.try_next().await? {
        let [layers, numbers] =
            [0, 1].map(|column| batch.column(column).as_primitive::<Int32Type>());
        let pairs = layers.values().iter().zip(numbers.values());
        neurons.extend(pairs.map(|(layer, neuron)| (*layer, *neuron)));
    }
    if neurons.is_empty() {
        return exec_err!(
            "publish: a condition that holds for neurons of the run is required, got {}",
            condition.unwrap_or("a run without neurons")
        );
    }
    Ok(neurons)
}

/// What makes the pages, and the folder they are written into.
struct Publisher {
    explorer: Arc<Explorer>,
    run: Arc<Run>,
    session: Arc<Session>,
    folder: NewFolder,
    files: AtomicU64,
    bytes: AtomicU64,
    largest: AtomicU64,
}

impl Publisher {
    /// Writes every file; how many documents have a page.
    async fn write(
        self: &Arc<Self>,
        neurons: &[(i32, i32)],
        told: &(dyn Fn(PublishStep) + Sync),
    ) -> Result<usize> {
        let layers: Vec<LayerRow> = self.run.layers()?;
        let with_pages: BTreeSet<i32> = neurons.iter().map(|(layer, _)| *layer).collect();
        let layers: Vec<LayerRow> = (layers.into_iter())
            .filter(|layer| with_pages.contains(&layer.layer))
            .collect();
        let documents = self.documents().await?;
        self.assets()?;
        for layer in &layers {
            self.rows(layer).await?;
        }
        self.words().await?;
        let mut pages = vec![SitePage::Run, SitePage::Search];
        pages.extend(layers.iter().map(|layer| SitePage::Layer(layer.layer)));
        pages.extend(
            neurons
                .iter()
                .map(|(layer, neuron)| SitePage::Neuron(*layer, *neuron)),
        );
        pages.extend(
            documents
                .iter()
                .map(|document| SitePage::Document(*document)),
        );
        let (mut done, total) = (0, pages.len());
        told(PublishStep { done, total });
        let made = pages.into_iter().map(|page| {
            let publisher = Arc::clone(self);
            tokio::spawn(async move { publisher.page(page).await })
        });
        let mut made = stream::iter(made).buffer_unordered(AT_ONCE);
        while let Some(written) = made.next().await {
            written.map_err(|error| DataFusionError::External(Box::new(error)))??;
            done += 1;
            told(PublishStep { done, total });
        }
        Ok(documents.len())
    }

    fn site(&self) -> Result<&WebSite> {
        let site = self.explorer.site.as_ref();
        site.ok_or_else(|| DataFusionError::Internal("publish: no site".into()))
    }

    /// Writes a file, whose name says where it is below the site's folder.
    fn file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.folder.write(name, bytes)?;
        let n = bytes.len() as u64;
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(n, Ordering::Relaxed);
        self.largest.fetch_max(n, Ordering::Relaxed);
        Ok(())
    }

    fn assets(&self) -> Result<()> {
        let mark = json!({
            "run": self.site()?.run(),
            "polysema_version": env!("CARGO_PKG_VERSION"),
        });
        self.file(MARK, format!("{mark}\n").as_bytes())?;
        for asset in assets::of_a_site() {
            self.file(asset.file(), asset.bytes())?;
        }
        Ok(())
    }

    /// A page of the explorer as a file.
    async fn page(&self, page: SitePage) -> Result<()> {
        let failed = |trouble: Trouble| {
            DataFusionError::Execution(format!("publish {}: {}", page.file(), trouble.message))
        };
        let site = self.site()?;
        let made = loop {
            let made = self.reached(page).await.map_err(failed)?;
            if !made.is_unfinished {
                break made;
            }
            tokio::time::sleep(WAIT).await;
        };
        let html = site_html(&made, site, page).map_err(failed)?;
        self.file(&page.file(), html.as_bytes())
    }

    async fn reached(&self, page: SitePage) -> Result<WebPage, Trouble> {
        let (address, parts) = page.address(self.explorer.site.as_ref().map_or("", WebSite::run));
        let visit = Visit {
            explorer: Arc::clone(&self.explorer),
            parts,
            place: Arc::new((address, String::new())),
        };
        let reached = match page {
            SitePage::Run => pages::run::page(visit).await,
            SitePage::Search => pages::search::page(visit).await,
            SitePage::Layer(_) => pages::layer::page(visit).await,
            SitePage::Neuron(..) => pages::neuron::page(visit).await,
            SitePage::Document(_) => pages::document::page(visit).await,
        };
        match reached? {
            Reached::Page(page) => Ok(page),
            Reached::Elsewhere(_) | Reached::Picture(..) => Err(Trouble::failed()),
            Reached::Explained(.., trouble) => Err(trouble),
        }
    }

    /// The documents of the examples that are shown, in order.
    async fn documents(&self) -> Result<Vec<i64>> {
        let site = self.site()?;
        if !site.has_documents() {
            return Ok(vec![]);
        }
        let sql = "SELECT layer, neuron, doc_id FROM examples";
        let mut rows = self.session.query(sql).await?;
        let mut documents = BTreeSet::new();
        while let Some(batch) = rows.try_next().await? {
            let column = |at: usize| batch.column(at).as_primitive::<Int32Type>();
            let [layers, neurons, found] = [column(0), column(1), column(2)];
            for row in 0..batch.num_rows() {
                if site.has(layers.value(row), neurons.value(row)) && found.is_valid(row) {
                    documents.insert(i64::from(found.value(row)));
                }
            }
        }
        Ok(documents.into_iter().collect())
    }

    /// Writes the rows of a layer's table.
    async fn rows(&self, layer: &LayerRow) -> Result<()> {
        let (at, site) = (layer.layer, self.site()?);
        let sql = format!(
            "SELECT {COLUMNS}\nFROM neuron_polysemanticity({at}) p\nJOIN neurons n ON n.neuron = p.neuron\n\
             WHERE n.layer = {at}\nORDER BY p.neuron, p.sign"
        );
        let mut of_part = vec![vec![]; usize::try_from(parts(layer.n_neurons)).unwrap_or(0)];
        let mut rows = self.session.query(&sql).await?;
        while let Some(batch) = rows.try_next().await? {
            for (neuron, row) in table_rows(&batch)? {
                let part = of_part.get_mut((neuron / NEURONS_OF_PART) as usize);
                if let Some(part) = part.filter(|_| site.has(at, neuron)) {
                    part.push(row);
                }
            }
        }
        for (part, rows) in of_part.into_iter().enumerate() {
            let script = rows_script(rows.into_iter());
            self.file(&part_file(at, part as i32), script.as_bytes())?;
        }
        Ok(())
    }

    /// Writes which words are key tokens of which clusters.
    async fn words(&self) -> Result<()> {
        let site = self.site()?;
        let sql = "SELECT layer, neuron, cluster, token FROM feature_clusters({kind: 'all'})";
        let mut rows = self.session.query(sql).await?;
        let pool = &self.session.context().runtime_env().memory_pool;
        let mut index = WordIndex::new(pool);
        while let Some(batch) = rows.try_next().await? {
            index.add(&batch, |layer, neuron| site.has(layer, neuron))?;
        }
        for (file, text) in index.files() {
            self.file(&file, text.as_bytes())?;
        }
        Ok(())
    }
}
