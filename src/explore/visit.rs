//! A request as a page reads it: the names in its address, checked, and the questions it asks of its run.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use serde::de::DeserializeOwned;

use super::explorer::{Explorer, answer};
use super::panel::{Answered, Panel};
use super::publish::WebSite;
use super::query_string::QueryString;
use super::slow::Patience;
use super::trouble::Trouble;
use crate::jobs::Doing;
use crate::models::LayerNorm;
use crate::options::Word;
use crate::session::Session;
use crate::store::kept::KeptName;
use crate::store::{LayerRow, Run};

/// A request.
#[derive(Clone)]
pub struct Visit {
    pub(super) explorer: Arc<Explorer>,
    /// Names and values of the address's variable parts.
    pub(super) parts: Vec<(String, String)>,
    /// The address without the ending of a form, and what stands behind the question mark, without what the forms read.
    pub(super) place: Arc<(String, String)>,
}

/// A panel of a question that may take long.
pub enum Late {
    /// It is there.
    Ready(Panel),
    /// It is computed since so many seconds, and is at this, if that is told.
    Working(u64, String),
}

impl Late {
    /// The panel, if it is there.
    pub fn panel(&self) -> Option<&Panel> {
        match self {
            Self::Ready(panel) => Some(panel),
            Self::Working(..) => None,
        }
    }

    /// Its rows, none before they are there.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, Trouble> {
        self.panel().map_or(Ok(vec![]), Panel::read)
    }

    /// Since how many seconds it is computed, if it still is.
    pub fn since(&self) -> Option<u64> {
        match self {
            Self::Ready(_) => None,
            Self::Working(seconds, _) => Some(*seconds),
        }
    }

    /// How far it is, in words, if it is still computed.
    pub fn working(&self) -> Option<String> {
        match self {
            Self::Ready(_) => None,
            Self::Working(seconds, doing) if doing.is_empty() => {
                Some(format!("The model is at work, since {seconds} s"))
            }
            Self::Working(seconds, doing) => Some(format!("{doing}, since {seconds} s")),
        }
    }
}

impl Visit {
    /// The site that the page is for, where it is published.
    pub fn site(&self) -> Option<&WebSite> {
        self.explorer.site.as_ref()
    }

    /// A variable part of the address.
    pub fn part(&self, name: &str) -> &str {
        let found = self.parts.iter().find(|(given, _)| given == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// What stands behind the question mark, of these names.
    pub fn asked(&self, known: &[&str]) -> Result<QueryString, Trouble> {
        QueryString::read(
            Some(&self.place.1)
                .filter(|query| !query.is_empty())
                .map(String::as_str),
            known,
        )
    }

    /// A question about the store.
    pub async fn store_panel(
        &self,
        id: &'static str,
        title: &'static str,
        sql: String,
    ) -> Result<Panel, Trouble> {
        let session = self.explorer.without_run()?;
        let answered = Explorer::ask(&session, None, &sql).await?;
        Ok(self.panel(id, title, Arc::new(answered)))
    }

    /// The run that the address names.
    pub async fn run(&self) -> Result<VisitedRun, Trouble> {
        self.run_of(self.part("run")).await
    }

    /// A run by its name.
    pub async fn run_of(&self, name: &str) -> Result<VisitedRun, Trouble> {
        let opened = self.explorer.open(name).await;
        let (run, session) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(self.no_run(name, error.into())),
        };
        Ok(VisitedRun {
            visit: self.clone(),
            run,
            session,
        })
    }

    /// Why there is no such run: it is not there, or it is and cannot be read.
    fn no_run(&self, name: &str, trouble: Trouble) -> Trouble {
        let store = self.explorer.engine.store();
        let names = store.runs().unwrap_or_default();
        if names.iter().any(|known| known == name) {
            return trouble;
        }
        let known = names.into_iter().map(|name| {
            let address = format!("/runs/{name}");
            (name, address)
        });
        Trouble::missing(
            format!("a run of the store is required, got '{name}'"),
            known.collect(),
        )
    }

    /// An answer as a panel of the page.
    pub fn panel(&self, id: &'static str, title: &'static str, answered: Arc<Answered>) -> Panel {
        Panel {
            id,
            title,
            answered,
            place: Arc::clone(&self.place),
        }
    }
}

/// The run that a request is about.
pub struct VisitedRun {
    visit: Visit,
    /// Its state, which stays as it is while this lives.
    pub run: Arc<Run>,
    session: Arc<Session>,
}

impl VisitedRun {
    /// Its name.
    pub fn name(&self) -> &str {
        self.run.name()
    }

    /// The layer that the address names, by its number or its name.
    pub fn layer(&self) -> Result<LayerRow, Trouble> {
        let word = self.visit.part("layer");
        let layers = self.run.layers()?;
        let is_it = |row: &&LayerRow| row.layer.to_string() == word || row.name == word;
        if let Some(layer) = layers.iter().find(is_it) {
            return Ok(layer.clone());
        }
        let known = layers.into_iter().map(|row| {
            let address = format!("/runs/{}/layers/{}", self.name(), row.layer);
            (format!("{} ({})", row.layer, row.name), address)
        });
        Err(Trouble::missing(
            format!("a layer of run {} is required, got '{word}'", self.name()),
            known.collect(),
        ))
    }

    /// The neuron of a layer that the address names.
    pub fn neuron(&self, layer: &LayerRow) -> Result<i32, Trouble> {
        let word = self.visit.part("neuron");
        let number = word.parse().ok();
        if let Some(neuron) = number.filter(|n| (0..layer.n_neurons).contains(n)) {
            return Ok(neuron);
        }
        let last = layer.n_neurons - 1;
        let (run, at) = (self.name(), layer.layer);
        let known = [0, last].map(|neuron| {
            let address = format!("/runs/{run}/layers/{at}/neurons/{neuron}");
            (format!("neuron {neuron}"), address)
        });
        Err(Trouble::missing(
            format!("a neuron of layer {at} from 0 to {last} is required, got '{word}'"),
            known.into(),
        ))
    }

    /// The columns of a table that is kept in the store beside the runs; none where there is no such table.
    pub fn kept_columns(&self, schema: &str, table: &str) -> Result<Option<SchemaRef>, Trouble> {
        let store = self.visit.explorer.engine.store();
        let kept = store.kept(&KeptName::new(schema, table))?;
        Ok(kept.map(|kept| Arc::clone(kept.columns())))
    }

    /// Whether a model gave the run its activations, which may be asked more.
    pub fn has_model(&self) -> bool {
        LayerNorm::parse(&self.run.manifest().layer_norm).is_some()
    }

    /// Whether readers may write labels of its neurons.
    pub fn may_write_labels(&self) -> bool {
        self.visit.explorer.writes_labels && self.visit.site().is_none()
    }

    /// A question about the run that is answered at once.
    pub async fn panel(
        &self,
        id: &'static str,
        title: &'static str,
        sql: String,
    ) -> Result<Panel, Trouble> {
        let answered = Explorer::ask(&self.session, Some(self.name()), &sql).await?;
        Ok(self.visit.panel(id, title, Arc::new(answered)))
    }

    /// A question about the run that may take minutes, waited for so long.
    pub async fn late_panel(
        &self,
        id: &'static str,
        title: &'static str,
        sql: String,
        wait: Duration,
    ) -> Result<Late, Trouble> {
        self.late_panel_with(id, title, sql, wait, "").await
    }

    /// As [`VisitedRun::panel`], of a question that needs the run's model, and no pass through it.
    pub async fn panel_of_model(
        &self,
        id: &'static str,
        title: &'static str,
        sql: String,
    ) -> Result<Panel, Trouble> {
        let session = self.visit.explorer.of_model()?;
        session.select_run(self.name()).await?;
        let answered = Explorer::ask(&session, Some(self.name()), &sql).await?;
        Ok(self.visit.panel(id, title, Arc::new(answered)))
    }

    /// As [`VisitedRun::late_panel`], of a question that sends texts or images through the run's model.
    pub async fn late_panel_of_model(
        &self,
        id: &'static str,
        title: &'static str,
        sql: String,
        wait: Duration,
    ) -> Result<Late, Trouble> {
        let (session, name) = (self.visit.explorer.of_model()?, self.name().to_string());
        let key = sql.clone();
        let work = move || {
            let doing = Arc::clone(session.doing());
            let work = async move {
                session.select_run(&name).await?;
                answer(&session, Some(&name), &sql).await
            };
            (work, doing)
        };
        self.late(id, title, &key, wait, work).await
    }

    /// As [`VisitedRun::late_panel`], of a question whose answer also depends on something else, which `with` tells from
    /// what it was.
    pub async fn late_panel_with(
        &self,
        id: &'static str,
        title: &'static str,
        sql: String,
        wait: Duration,
        with: &str,
    ) -> Result<Late, Trouble> {
        let (session, name) = (Arc::clone(&self.session), self.name().to_string());
        let key = format!("{sql}\n{with}");
        let work = move || {
            // A session of many readers, which tells of all that they ask.
            let work = async move { answer(&session, Some(&name), &sql).await };
            (work, Arc::default())
        };
        self.late(id, title, &key, wait, work).await
    }

    /// The answer that `work` gives under a key, once for all who ask.
    async fn late<W>(
        &self,
        id: &'static str,
        title: &'static str,
        key: &str,
        wait: Duration,
        work: impl FnOnce() -> (W, Arc<Doing>),
    ) -> Result<Late, Trouble>
    where
        W: Future<Output = Result<Answered, DataFusionError>> + Send + 'static,
    {
        let patience = self.visit.explorer.slow.get(&self.run, key, wait, work);
        Ok(match patience.await? {
            Patience::Ready(answered) => Late::Ready(self.visit.panel(id, title, answered)),
            Patience::Working(since, doing) => Late::Working(since.as_secs(), doing),
        })
    }
}
