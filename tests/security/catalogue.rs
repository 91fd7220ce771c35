//! Every function of the catalogue, those that are added later too: none reads, makes or changes a file for who may not,
//! whatever text stands in the place of its arguments and options.

use polysema::policy::Policy;
use polysema::serve::users::Role;
use polysema::store::Store;
use polysema_udfs::calls::{Function, FunctionDoc};

use super::place::{CANARY, Place, Way};
use super::server::conversation;

/// Texts in the place of a function's own; `{}` is a folder of files.
const HOSTILE: &[&str] = &[
    "{}/canary.csv",
    "{}/canary.jsonl",
    "{}/canary.txt",
    "{}/table",
    "{}/store/runs/demo/manifest.json",
    "../../../../etc/passwd",
    "/dev/zero",
    "http://127.0.0.1:1/x",
    "hf:openai-community/gpt2",
    "hf:../../x",
    "x'); COPY (SELECT 1) TO '{}/new.csv' --",
];

fn functions(place: &Place) -> Vec<Function> {
    let store = Store::open(&place.path("store")).expect("a store");
    let mut functions = polysema_udfs::catalog::functions();
    functions.extend(polysema::functions::functions(&std::sync::Arc::new(store)));
    functions
}

/// The texts in single quotes of a statement, with their quotes.
fn texts(statement: &str) -> Vec<&str> {
    let marks: Vec<usize> = statement.match_indices('\'').map(|(at, _)| at).collect();
    marks
        .chunks_exact(2)
        .map(|pair| &statement[pair[0]..=pair[1]])
        .collect()
}

/// The example of a function with each text in turn replaced, and with each option that takes one.
fn attacks(doc: &FunctionDoc) -> Vec<String> {
    let example = doc.example.trim_start_matches("EXPLAIN ");
    let mut attacks = vec![];
    for hostile in HOSTILE {
        let hostile = format!("'{}'", hostile.replace('\'', "''"));
        for text in texts(example) {
            attacks.push(example.replacen(text, &hostile, 1));
        }
        let call = format!("{}(", doc.name);
        let Some((before, after)) = example.split_once(&call) else {
            continue;
        };
        for option in doc.options.iter().filter(|option| option.takes_text()) {
            let name = option.name;
            // Named arguments stand anywhere, beside an options struct too.
            attacks.push(format!("{before}{call}{name} => {hostile}, {after}"));
        }
        for argument in doc.arguments {
            let name = argument.name;
            attacks.push(format!("SELECT * FROM {}({name} => {hostile})", doc.name));
        }
    }
    attacks
}

#[test]
fn no_function_opens_a_file_for_who_may_not() {
    let place = Place::new();
    let functions = functions(&place);
    assert!(functions.len() > 30, "{}", functions.len());
    conversation(place.options(), |server| async move {
        let [simple, _, http] = Way::all(&server, Role::Reader).await;
        let before = place.files();
        let mut asked = 0;
        for function in &functions {
            let example = function.doc.example.trim_start_matches("EXPLAIN ");
            let reads_files = texts(example).iter().any(|text| text.contains('/'));
            // Where it wants an autoencoder that this store has not, that is told first.
            let told = simple.ask(&server, example).await;
            assert!(!reads_files || told.is_err(), "{example}: {told:?}");
            for (at, attack) in attacks(function.doc).iter().enumerate() {
                let attack = place.fill(attack);
                // A session is made for each request.
                let way = if at % 8 == 7 { &http } else { &simple };
                let told = way.ask(&server, &attack).await.unwrap_or_else(|told| told);
                assert!(!told.contains(CANARY), "{attack}: {told}");
                asked += 1;
            }
            assert!(place.files() == before, "{}", function.doc.name);
        }
        assert!(asked > 1000, "{asked}");
        server.stop().await;
    });
}

/// The same of a library's session with nothing, which no server stands before.
#[test]
fn no_function_opens_a_file_for_a_policy_of_nothing() {
    let place = Place::new();
    let functions = functions(&place);
    super::server::RUNTIME.block_on(async {
        let session = place.session(Policy::nothing());
        let before = place.files();
        for function in &functions {
            for attack in attacks(function.doc) {
                let attack = place.fill(&attack);
                let rows = session.query(&attack).await;
                let told = match rows {
                    Ok(rows) => match futures::TryStreamExt::try_collect::<Vec<_>>(rows).await {
                        Ok(rows) => format!("{rows:?}"),
                        Err(error) => error.to_string(),
                    },
                    Err(error) => error.to_string(),
                };
                assert!(!told.contains(CANARY), "{attack}: {told}");
            }
            assert!(place.files() == before, "{}", function.doc.name);
        }
    });
}
