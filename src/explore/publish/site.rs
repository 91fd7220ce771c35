//! A run's pages as files: which file an address of the explorer is, and a page's links as ways from its file to others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::store::Run;

/// The pages of a run that are published.
#[derive(Debug)]
pub struct WebSite {
    run: String,
    /// The neurons of each layer that have a page; every one where there is nothing.
    chosen: Option<BTreeMap<i32, BTreeSet<i32>>>,
    /// Whether the run keeps documents.
    has_documents: bool,
}

/// A page of a site by what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SitePage {
    Run,
    Search,
    Layer(i32),
    Neuron(i32, i32),
    Document(i64),
}

impl SitePage {
    /// Its file, below the site's folder.
    pub fn file(self) -> String {
        match self {
            Self::Run => "index.html".to_string(),
            Self::Search => "search.html".to_string(),
            Self::Layer(layer) => format!("layers/{layer}.html"),
            Self::Neuron(layer, neuron) => format!("neurons/{layer}/{neuron}.html"),
            Self::Document(document) => format!("documents/{document}.html"),
        }
    }

    /// The way from its file to the site's folder.
    pub fn root(self) -> &'static str {
        match self {
            Self::Run | Self::Search => "",
            Self::Layer(_) | Self::Document(_) => "../",
            Self::Neuron(..) => "../../",
        }
    }

    /// Its address in the explorer, with the names in it.
    pub fn address(self, run: &str) -> (String, Vec<(String, String)>) {
        let (below, mut parts) = match self {
            Self::Run => (String::new(), vec![]),
            Self::Search => ("/search".to_string(), vec![]),
            Self::Layer(layer) => (
                format!("/layers/{layer}"),
                vec![("layer", layer.to_string())],
            ),
            Self::Neuron(layer, neuron) => (
                format!("/layers/{layer}/neurons/{neuron}"),
                vec![("layer", layer.to_string()), ("neuron", neuron.to_string())],
            ),
            Self::Document(document) => (
                format!("/documents/{document}"),
                vec![("document", document.to_string())],
            ),
        };
        parts.push(("run", run.to_string()));
        let parts = parts
            .into_iter()
            .map(|(name, value)| (name.to_string(), value));
        (format!("/runs/{run}{below}"), parts.collect())
    }
}

impl WebSite {
    /// The site of a run: of these neurons, or of all of them.
    pub fn new(run: &Run, chosen: Option<BTreeMap<i32, BTreeSet<i32>>>) -> Self {
        Self {
            run: run.name().to_string(),
            chosen,
            has_documents: run.manifest().counts.documents > 0,
        }
    }

    /// The run's name.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The neurons of a layer that have a page, where not all of them do.
    pub fn chosen(&self, layer: i32) -> Option<Vec<i32>> {
        let chosen = self.chosen.as_ref()?;
        Some(chosen.get(&layer).into_iter().flatten().copied().collect())
    }

    /// Whether documents have pages.
    pub fn has_documents(&self) -> bool {
        self.has_documents
    }

    /// Whether a neuron has a page.
    pub fn has(&self, layer: i32, neuron: i32) -> bool {
        let chosen = self.chosen.as_ref();
        chosen.is_none_or(|chosen| chosen.get(&layer).is_some_and(|of| of.contains(&neuron)))
    }

    /// Where a link of the explorer leads in the site, from its folder; none where only a running explorer answers.
    fn file(&self, link: &str) -> Option<String> {
        let (address, fragment) = match link.split_once('#') {
            Some((address, fragment)) => (address, Some(fragment)),
            None => (link, None),
        };
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let below = path.strip_prefix("/runs/")?.strip_prefix(&self.run)?;
        let words: Vec<&str> = below.split('/').collect();
        let page = match words[..] {
            [""] => SitePage::Run,
            ["", "search"] => SitePage::Search,
            ["", "layers", layer] => {
                let layer = layer.parse().ok()?;
                let chosen = self.chosen.as_ref();
                let has = chosen.is_none_or(|chosen| chosen.contains_key(&layer));
                has.then_some(SitePage::Layer(layer))?
            }
            ["", "layers", layer, "neurons", neuron] => {
                let (layer, neuron) = (layer.parse().ok()?, neuron.parse().ok()?);
                self.has(layer, neuron)
                    .then_some(SitePage::Neuron(layer, neuron))?
            }
            ["", "documents", document] => {
                let document = document.parse().ok()?;
                self.has_documents.then_some(SitePage::Document(document))?
            }
            _ => return None,
        };
        let mut file = page.file();
        match page {
            SitePage::Search if !query.is_empty() => {
                let _ = write!(file, "?{query}");
            }
            // Whose activations shade it is another question to the run.
            SitePage::Document(_) => {}
            _ if !query.is_empty() => return None,
            _ => {}
        }
        if let Some(fragment) = fragment {
            let _ = write!(file, "#{fragment}");
        }
        Some(file)
    }

    /// A page of the explorer, whose links lead to files from a file of which `root` is the way to the site's folder. A link
    /// that leads nowhere there loses its address.
    pub fn relinked(&self, html: &str, root: &str) -> String {
        const LINK: &str = " href=\"";
        let mut relinked = String::with_capacity(html.len());
        let mut rest = html;
        while let Some((before, link)) = rest.split_once(LINK) {
            relinked.push_str(before);
            // Texts have no quotation marks of their own: they are escaped.
            let (address, after) = link.split_once('"').unwrap_or((link, ""));
            if !address.starts_with(['/', '?']) {
                let _ = write!(relinked, "{LINK}{address}\"");
            } else if let Some(file) = self.file(&address.replace("&amp;", "&")) {
                let file = file.replace('&', "&amp;");
                let _ = write!(relinked, "{LINK}{root}{file}\"");
            }
            rest = after;
        }
        relinked.push_str(rest);
        relinked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_files_or_nowhere() {
        let chosen = BTreeMap::from([(7, BTreeSet::from([3, 1024]))]);
        let site = WebSite {
            run: "gpt2.small".to_string(),
            chosen: Some(chosen),
            has_documents: true,
        };
        let relinked =
            |link: &str| site.relinked(&format!("<a class=\"x\" href=\"{link}\">y</a>"), "../");
        let to = |file: &str| format!("<a class=\"x\" href=\"{file}\">y</a>");
        for (link, file) in [
            ("/runs/gpt2.small", "../index.html"),
            ("/runs/gpt2.small/layers/7", "../layers/7.html"),
            (
                "/runs/gpt2.small/layers/7/neurons/1024#cluster-2",
                "../neurons/7/1024.html#cluster-2",
            ),
            (
                "/runs/gpt2.small/documents/5?layer=7&amp;neuron=3#token-9",
                "../documents/5.html#token-9",
            ),
            (
                "/runs/gpt2.small/search?word=a%22&amp;b",
                "../search.html?word=a%22&amp;b",
            ),
            ("#main", "#main"),
            ("https://example.org/?a=b", "https://example.org/?a=b"),
        ] {
            assert_eq!(relinked(link), to(file), "{link}");
        }
        for nowhere in [
            "/",
            "/sql",
            "?scale=example",
            "/runs/gpt2.small2",
            "/runs/other/layers/7",
            "/runs/gpt2.small/layers/8",
            "/runs/gpt2.small/layers/7/neurons/4",
            "/runs/gpt2.small/layers/7/neurons/3?threshold=0.4",
            "/runs/gpt2.small/layers/7.json?panel=neurons",
            "/runs/gpt2.small/layers/7/neurons/3/clusters/0/similar?threshold=0.5",
        ] {
            assert_eq!(relinked(nowhere), "<a class=\"x\">y</a>", "{nowhere}");
        }
        let without = WebSite {
            has_documents: false,
            ..site
        };
        let link = "<a href=\"/runs/gpt2.small/documents/5#token-9\">";
        assert_eq!(without.relinked(link, ""), "<a>");
    }
}
