//! Arguments of our functions: an input is the name of a function, a line, then what stands in its parentheses.
#![no_main]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{Corpus, fuzz_target};
use polysema::policy::Policy;
use polysema::session::Engine;
use polysema_fuzz::{named, panics, scratch, stores};

static STORE: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = scratch("sql");
    stores::fill(&root);
    root
});
static ENGINE: LazyLock<Arc<Engine>> = LazyLock::new(|| stores::open(&STORE).expect("a store"));

fuzz_target!(init: panics::watch(), |input: &[u8]| -> Corpus {
    let Some((name, arguments)) = named(input) else {
        return Corpus::Reject;
    };
    let Ok(arguments) = std::str::from_utf8(arguments) else {
        return Corpus::Reject;
    };
    // No query in the arguments: what DataFusion makes of those is its own.
    if arguments.contains(['(', ')', ';']) || arguments.contains("--") || arguments.contains("/*") {
        return Corpus::Reject;
    }
    let functions = ENGINE.functions();
    let known = functions.iter().find(|function| function.name == name);
    let function = known.unwrap_or(&functions[name.len() % functions.len()]);
    let call = format!("{}({arguments})", function.name);
    let _ = stores::ask(&ENGINE, Policy::nothing(), &format!("SELECT * FROM demo.{call} LIMIT 20"));
    let _ = stores::ask(&ENGINE, Policy::nothing(), &format!("SELECT {call}"));
    Corpus::Keep
});
