//! `polysema explore`: the pages of a store for a browser on this machine.
//!
//! Each page is a file of `pages`, a template of the same name and a line of `routes`. A page asks its questions as SQL
//! and shows them beside the answers; the same address ending in `.json` or `.arrow` gives the rows.

mod assets;
mod cells;
mod charts;
mod clusters;
mod console;
mod explorer;
mod guards;
mod images;
mod lines;
mod page;
mod pages;
mod panel;
mod points;
mod publish;
mod query_string;
mod scatter;
mod show;
mod slow;
mod svg;
mod tokens;
mod training;
mod tree;
mod trouble;
mod turn;
mod visit;

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::http::uri::Uri;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use datafusion::common::plan_err;
use datafusion::error::Result;
use futures::FutureExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::form_urlencoded;

use crate::files;
use crate::session::{Engine, EngineOptions};
use crate::web;
use crate::web::forms::Form;
use explorer::Explorer;
pub use explorer::SavedQuestion;
use guards::Guards;
use page::{Reached, WantedForm};
pub use publish::{PublishOptions, PublishStep, Published, publish};
use trouble::Trouble;
use visit::Visit;

/// Connections at once.
const CONNECTIONS: usize = 256;
/// The most bytes of a form, and the most time in which they come.
const FORM: usize = 8_192;
const SENT: Duration = Duration::from_secs(10);
/// Time for what was asked to be answered when the explorer is to end.
const GRACE: Duration = Duration::from_secs(2);

/// What an explorer is opened with.
#[derive(Debug, Clone)]
pub struct ExploreOptions {
    /// The store and its memory.
    pub engine: EngineOptions,
    /// Where it listens.
    pub listen: IpAddr,
    /// Its port; 0 is any that is free.
    pub port: u16,
    /// The name of a proxy that asks who a reader is and passes requests on; needed to listen beyond this machine.
    pub proxy: Option<String>,
    /// The run whose page comes first.
    pub run: Option<String>,
    /// Whether readers may write labels into the store; nothing else of it changes.
    pub write_labels: bool,
}

/// An explorer that listens and does not answer yet.
pub struct Exploring {
    explorer: Explorer,
    listener: TcpListener,
    address: SocketAddr,
    run: Option<String>,
}

/// The pages.
fn routes() -> Router<Arc<Explorer>> {
    Router::new()
        .route("/", page(pages::store::page))
        .route("/runs/{run}", page(pages::run::page))
        .route("/runs/{run}/go", page(pages::go::page))
        .route("/runs/{run}/layers/{layer}", page(pages::layer::page))
        .route(
            "/runs/{run}/layers/{layer}/neurons/{neuron}",
            page(pages::neuron::page),
        )
        .route(
            "/runs/{run}/layers/{layer}/neurons/{neuron}/card.svg",
            page(pages::card::card),
        )
        .route(
            "/runs/{run}/layers/{layer}/neurons/{neuron}/clusters/{cluster}/similar",
            page(pages::similar::page),
        )
        .route(
            "/runs/{run}/layers/{layer}/neurons/{neuron}/logits",
            page(pages::logits::page),
        )
        .route(
            "/runs/{run}/layers/{layer}/neurons/{neuron}/matches",
            page(pages::matches::page),
        )
        .route(
            "/runs/{run}/layers/{layer}/neurons/{neuron}/examples/{example}/importance",
            page(pages::importance::page),
        )
        .route(
            "/runs/{run}/layers/{layer}/neurons/{neuron}/labels",
            page(pages::labels::page).merge(form(pages::labels::write)),
        )
        .route(
            "/runs/{run}/documents/{document}",
            page(pages::document::page),
        )
        .route("/runs/{run}/search", page(pages::search::page))
        .route("/runs/{run}/saes", page(pages::saes::page))
        .route("/runs/{run}/saes/{sae}", page(pages::sae::page))
        .route("/runs/{run}/compare", page(pages::sae_pair::page))
        .route("/runs/{run}/explain", page(pages::explain::page))
        .route("/compare", page(pages::compare::page))
        .route("/sql", page(pages::sql::page))
        .route("/runs/{run}/sql", page(pages::sql::page))
        .fallback(nowhere)
}

impl Exploring {
    /// Opens the store and listens.
    ///
    /// Errors: the store cannot be opened; it has no such run; others than this machine could ask without a proxy that
    /// knows them; the port is taken.
    pub async fn open(options: ExploreOptions) -> Result<Self> {
        if !options.listen.is_loopback() && options.proxy.is_none() {
            return plan_err!(
                "explore: --behind-proxy HOST, the name of a proxy that asks readers who they are, is required beyond this \
                 machine, got an address for others and no proxy"
            );
        }
        let engine = Engine::open(&options.engine)?;
        if let Some(run) = &options.run {
            engine.store().run(run)?;
        }
        let asked = SocketAddr::new(options.listen, options.port);
        let bound = TcpListener::bind(asked).await;
        let listener = bound.map_err(|error| {
            files::invalid(format!(
                "explore: a free port (--port) is required, got {asked}: {error}"
            ))
        })?;
        let address = listener.local_addr()?;
        let guards = Guards {
            port: address.port(),
            proxy: options.proxy,
        };
        let mut explorer = Explorer::new(engine, guards);
        explorer.writes_labels = options.write_labels;
        Ok(Self {
            explorer,
            listener,
            address,
            run: options.run,
        })
    }

    /// With questions that its console offers.
    pub fn with_questions(mut self, saved: Vec<SavedQuestion>) -> Self {
        self.explorer.saved = saved;
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a browser of this machine opens.
    pub fn url(&self) -> String {
        let start = self.run.as_ref().map(|run| format!("runs/{run}"));
        let (port, start) = (self.address.port(), start.unwrap_or_default());
        format!("http://localhost:{port}/{start}")
    }

    /// Answers until `end` is ready.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let (ended, _) = watch::channel(false);
        let explorer = Arc::new(self.explorer);
        let router = Router::new()
            .fallback(guarded)
            .with_state((Arc::clone(&explorer), routes().with_state(explorer)));
        let closing = async {
            end.await;
            ended.send_replace(true);
        };
        web::accept(self.listener, CONNECTIONS, closing, |stream, _| {
            let (router, mut closing) = (router.clone(), ended.subscribe());
            let mut ending = ended.subscribe();
            async move {
                let closing = async {
                    let _ = closing.wait_for(|ended| *ended).await;
                };
                let ending = async {
                    let _ = ending.wait_for(|ended| *ended).await;
                    tokio::time::sleep(GRACE).await;
                };
                let _ = stream.set_nodelay(true);
                web::converse(stream, router, std::future::pending(), closing, ending).await;
            }
        })
        .await;
    }
}

/// The form of data that a request asks for by the ending of its address.
#[derive(Clone, Copy)]
struct DataForm(Form);

/// Lets a request in, takes the ending off its address, and says of every answer what a browser may do with it.
async fn guarded(
    State((explorer, routes)): State<(Arc<Explorer>, Router)>,
    request: Request,
) -> Response {
    let (mut head, body) = request.into_parts();
    let wanted = WantedForm {
        form: None,
        panel: None,
        heads: head.headers.clone(),
    };
    let path = head.uri.path().to_string();
    let mut response = if let Err(trouble) = explorer.guards.check(&head) {
        wanted.answer(Err(trouble))
    } else if path.starts_with("/assets/") {
        assets::answer(&path)
    } else {
        let endings = [(".json", Form::Json), (".arrow", Form::Arrow)];
        let found = endings
            .iter()
            .find_map(|(ending, form)| Some((path.strip_suffix(ending)?, *form)));
        if let Some((path, form)) = found {
            let path = if path == "/index" { "/" } else { path };
            let query = head.uri.query().map(|query| format!("?{query}"));
            let address = format!("{path}{}", query.unwrap_or_default());
            if let Ok(uri) = address.parse::<Uri>() {
                head.uri = uri;
                head.extensions.insert(DataForm(form));
            }
        }
        let asked = Request::from_parts(head, body);
        match TowerToHyperService::new(routes).call(asked).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    };
    guards::forbid(response.headers_mut());
    response
}

/// The answer where no page is.
async fn nowhere(request: Request) -> Response {
    let (head, _) = request.into_parts();
    let known = vec![("the store's runs".to_string(), "/".to_string())];
    let message = format!(
        "a page of the explorer is required, got '{}'",
        head.uri.path()
    );
    let wanted = WantedForm {
        form: head.extensions.get::<DataForm>().map(|form| form.0),
        panel: None,
        heads: head.headers,
    };
    wanted.answer(Err(Trouble::missing(message, known)))
}

/// The handler of a page: its turn, its questions, its form.
fn page<F>(of: impl Fn(Visit) -> F + Clone + Send + Sync + 'static) -> MethodRouter<Arc<Explorer>>
where
    F: Future<Output = std::result::Result<Reached, Trouble>> + Send + 'static,
{
    get(
        async move |State(explorer): State<Arc<Explorer>>,
                    parts: RawPathParams,
                    request: Request| {
            let (head, _) = request.into_parts();
            let form = head.extensions.get::<DataForm>().map(|form| form.0);
            let query = head.uri.query().unwrap_or_default();
            let pairs = form_urlencoded::parse(query.as_bytes());
            let panel = pairs.into_iter().find(|(name, _)| name == "panel");
            let rest: Vec<_> = (query.split('&'))
                .filter(|pair| !pair.is_empty() && *pair != "panel" && !pair.starts_with("panel="))
                .collect();
            let parts = parts.iter();
            let visit = Visit {
                explorer: Arc::clone(&explorer),
                parts: parts
                    .map(|(name, value)| (name.to_string(), value.to_string()))
                    .collect(),
                place: Arc::new((head.uri.path().to_string(), rest.join("&"))),
            };
            let wanted = WantedForm {
                form,
                panel: panel.map(|(_, id)| id.into_owned()),
                heads: head.headers,
            };
            let asking = async {
                let _turn = explorer.turn().await?;
                of(visit).await
            };
            let reached = AssertUnwindSafe(asking).catch_unwind().await;
            wanted.answer(reached.unwrap_or_else(|_| Err(Trouble::failed())))
        },
    )
}

/// The handler of a form of the pages: what it says is read as what stands behind a question mark.
fn form<F>(of: impl Fn(Visit) -> F + Clone + Send + Sync + 'static) -> MethodRouter<Arc<Explorer>>
where
    F: Future<Output = std::result::Result<Reached, Trouble>> + Send + 'static,
{
    post(
        async move |State(explorer): State<Arc<Explorer>>,
                    parts: RawPathParams,
                    request: Request| {
            let (head, body) = request.into_parts();
            let parts: Vec<(String, String)> = (parts.iter())
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect();
            let path = head.uri.path().to_string();
            let wanted = WantedForm {
                form: None,
                panel: None,
                heads: head.headers.clone(),
            };
            let asking = async {
                explorer.guards.check_form(&head)?;
                let sent = tokio::time::timeout(SENT, axum::body::to_bytes(body, FORM)).await;
                let Ok(Ok(sent)) = sent else {
                    return Err(Trouble::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        format!(
                            "a form of at most {FORM} bytes is required, sent at once, got another"
                        ),
                    ));
                };
                let _turn = explorer.turn().await?;
                let said = String::from_utf8_lossy(&sent).into_owned();
                of(Visit {
                    explorer: Arc::clone(&explorer),
                    parts,
                    place: Arc::new((path, said)),
                })
                .await
            };
            let reached = AssertUnwindSafe(asking).catch_unwind().await;
            wanted.answer(reached.unwrap_or_else(|_| Err(Trouble::failed())))
        },
    )
}
