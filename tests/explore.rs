//! `polysema explore` as a browser meets it: bytes on a socket, against pages of the demo's model.

mod card;
mod compare;
mod console;
mod explain;
mod images;
mod labels;
mod neurons;
mod panels;
mod publish;
mod saes;
mod search;
mod site;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use serde_json::Value;

use site::{STORE, Site, run};

#[test]
fn the_run_and_its_layers_are_what_sql_says() {
    let site = Site::of(&STORE.1);
    let front = site.get("/");
    assert_eq!(front.status, 200);
    assert!(front.text().contains("href=\"/runs/demo\""));
    let page = site.whole("/runs/demo");
    let data = site.get("/runs/demo.json").json();
    let summary = run(
        &STORE.1,
        "SELECT layer, n_neurons, mean_n_clusters, n_monosemantic, mean_distance FROM layer_summary",
    );
    let clusters = data["clusters"]["rows"].as_array().unwrap();
    assert_eq!(clusters.len(), summary.len());
    for (row, expected) in clusters.iter().zip(&summary) {
        assert_eq!(row["layer"], expected["layer"]);
        assert_eq!(row["one"], expected["n_monosemantic"]);
        assert_eq!(row["mean_distance"], expected["mean_distance"]);
        let mean = expected["mean_distance"].as_f64().unwrap();
        assert!(
            page.contains(&format!("<td class=\"n\">{mean:.3}</td>")),
            "{mean}"
        );
    }
    // What the page says was asked gives these rows.
    let sql = data["neurons"]["sql"].as_str().unwrap();
    assert_eq!(Value::from(run(&STORE.1, sql)), data["neurons"]["rows"]);
    let first = &data["neurons"]["rows"][0];
    let link = format!(
        "/runs/demo/layers/{}/neurons/{}",
        first["layer"], first["neuron"]
    );
    assert!(page.contains(&format!("href=\"{link}\"")), "{link}");
}

#[test]
fn a_layer_is_sorted_filtered_and_turned_over() {
    let site = Site::of(&STORE.1);
    let rows = |query: &str| {
        let path = format!("/runs/demo/layers/2{query}");
        site.whole(&path);
        let ending = format!(
            "/runs/demo/layers/2.json{query}{}panel=neurons",
            if query.is_empty() { "?" } else { "&" }
        );
        let rows = site.get(&ending).json();
        rows.as_array().unwrap().clone()
    };
    let numbers = |rows: &[Value]| {
        rows.iter()
            .map(|row| row["neuron"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&rows("")), (0..50).collect::<Vec<_>>());
    assert_eq!(numbers(&rows("?page=11")), (500..512).collect::<Vec<_>>());
    assert_eq!(
        numbers(&rows("?order=desc&page=11")),
        (0..12).rev().collect::<Vec<_>>()
    );
    assert!(rows("?page=12").is_empty());
    let all = run(
        &STORE.1,
        "SELECT neuron FROM neuron_polysemanticity(2, {threshold: 0.3}) WHERE n_clusters >= 3 AND n_examples >= 5 \
         ORDER BY mean_distance DESC, neuron",
    );
    assert!(all.len() > 60, "{}", all.len());
    let query = "?sort=mean_distance&min_clusters=3&min_examples=5&threshold=0.3";
    let (first, second) = (rows(query), rows(&format!("{query}&page=2")));
    let both = [numbers(&first), numbers(&second)].concat();
    assert_eq!(both, numbers(&all[..both.len()]));
    assert_eq!(first[0]["n_found"], all.len());
    let text = site.get(&format!("/runs/demo/layers/2{query}")).text();
    assert!(text.contains(&format!("1 to 50 of {}", all.len())));
    assert!(text.contains("rel=\"next\"") && !text.contains("rel=\"prev\""));
    assert!(text.contains("aria-sort=\"descending\""));
    // By name as by number.
    assert_eq!(site.get("/runs/demo/layers/blocks.2.mlp").status, 200);
}

#[test]
fn data_has_a_form_of_its_own_under_the_same_address() {
    let site = Site::of(&STORE.1);
    let page = site.get("/runs/demo/layers/1");
    assert_eq!(page.heads["content-type"], "text/html; charset=utf-8");
    let arrow = site.get("/runs/demo/layers/1.arrow?panel=histograms");
    assert_eq!(
        arrow.heads["content-type"],
        "application/vnd.apache.arrow.stream"
    );
    let reader =
        datafusion::arrow::ipc::reader::StreamReader::try_new(&arrow.body[..], None).unwrap();
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    let json = site.get("/runs/demo/layers/1.json").json();
    assert_eq!(json["histograms"]["rows"].as_array().unwrap().len(), rows);
    assert_eq!(site.get("/index.json?panel=runs").json()[0]["run"], "demo");
    let unknown = site.get("/runs/demo/layers/1.json?panel=x");
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.text().contains("neurons, histograms"),
        "{}",
        unknown.text()
    );
    assert_eq!(site.get("/runs/demo/layers/1?panel=neurons").status, 400);
}

#[test]
fn what_a_browser_has_is_not_sent_again_and_what_is_sent_is_packed() {
    let site = Site::of(&STORE.1);
    let path = "/runs/demo/layers/0";
    let plain = site.get(path);
    let tag = plain.heads["etag"].clone();
    let again = site.get_with(path, &format!("If-None-Match: \"x\", {tag}\r\n"));
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.heads["etag"], tag);
    assert_ne!(site.get("/runs/demo/layers/1").heads["etag"], tag);
    let packed = site.get_with(path, "Accept-Encoding: br, gzip\r\n");
    assert_eq!(packed.heads["content-encoding"], "gzip");
    assert!(packed.body.len() * 3 < plain.body.len());
    let mut unpacked = String::new();
    GzDecoder::new(&packed.body[..])
        .read_to_string(&mut unpacked)
        .unwrap();
    assert!(unpacked.contains("<h1>Layer 0</h1>"));
    let style = plain.text();
    let style = style.split("rel=\"stylesheet\" href=\"").nth(1).unwrap();
    let asset = site.get(style.split('"').next().unwrap());
    assert_eq!(asset.heads["content-type"], "text/css; charset=utf-8");
    assert!(asset.heads["cache-control"].contains("immutable"));
    assert_eq!(site.get("/assets/explore-0.css").status, 404);
}

#[test]
fn a_page_forbids_all_but_its_own() {
    let site = Site::of(&STORE.1);
    for path in [
        "/",
        "/runs/demo/layers/0",
        "/runs/none",
        "/assets/none",
        "/none",
        "/index.json",
    ] {
        let heads = site.get(path).heads;
        let policy = &heads["content-security-policy"];
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
            "{path}"
        );
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(heads["x-content-type-options"], "nosniff");
        assert_eq!(heads["cross-origin-resource-policy"], "same-origin");
        assert_eq!(heads["referrer-policy"], "same-origin");
    }
    let page = site.whole("/runs/demo");
    for forbidden in [
        " style=",
        "<style",
        " onclick",
        "javascript:",
        "src=\"http",
        "href=\"http",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let other = site.send("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert_eq!(other.status, 421);
    let other = site.get_with("/", "Sec-Fetch-Site: cross-site\r\n");
    assert_eq!(other.status, 403);
    let other = site.get_with("/index.json", "Origin: http://evil.example\r\n");
    assert_eq!(
        (other.status, other.heads["content-type"].as_str()),
        (403, "text/html; charset=utf-8")
    );
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let site = Site::of(&STORE.1);
    let said = |path: &str, status: u16, words: &str| {
        let got = site.get(path);
        let text = got.text();
        assert_eq!(got.status, status, "{path}: {text}");
        assert!(text.contains(words), "{path}: {text}");
        assert!(
            !text.contains("panicked") && !text.contains(".rs:"),
            "{path}: {text}"
        );
    };
    said("/runs/nope", 404, "href=\"/runs/demo\"");
    said("/runs/..%2F..%2Fetc", 404, "a run of the store is required");
    said("/runs/demo/layers/9", 404, "href=\"/runs/demo/layers/3\"");
    said("/runs/demo/layers/0?x=1", 400, "required in the address");
    said(
        "/runs/demo/layers/0?sort=%3Cscript%3E",
        400,
        "&#60;script&#62;",
    );
    said("/runs/demo/layers/0?page=0", 400, "a number from 1");
    said(
        "/runs/demo/layers/0?threshold=1e999",
        400,
        "a number from 0 to 2",
    );
    said("/runs/demo/layers/0?page=1&page=2", 400, "required once");
    said("/nowhere", 404, "a page of the explorer is required");
    said(
        &format!("/runs/demo?{}", "a".repeat(17_000)),
        414,
        "at most 16384 characters",
    );
    assert_eq!(site.get("/runs/nope.json").json()["known"][0], "demo");
    let port = site.address.port();
    let large = site.send(&format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\nContent-Length: 9999999\r\n\r\n"));
    assert_eq!(large.status, 413);
    let posted = site.send(&format!("POST / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(posted.status, 405);
}

#[test]
fn the_program_says_where_it_is_and_opens_no_door_to_others() {
    let explore = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polysema"));
        command.args(["explore", "--store"]).arg(&STORE.1);
        command
            .args(words)
            .stderr(Stdio::piped())
            .stdin(Stdio::null());
        command.spawn().unwrap()
    };
    let refused = |words: &[&str]| {
        let output = explore(words).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let message = refused(&["--listen", "0.0.0.0", "--port", "0"]);
    assert!(message.contains("--behind-proxy HOST"), "{message}");
    let message = refused(&["--port", "0", "--run", "nope"]);
    assert!(message.contains("demo"), "{message}");
    let mut child = explore(&["--port", "0", "--run", "demo"]);
    let mut said = String::new();
    let err = child.stderr.take().unwrap();
    BufReader::new(err).read_line(&mut said).unwrap();
    let url = said.split_once(" at http://").unwrap().1;
    let (host, path) = url.split(' ').next().unwrap().split_once('/').unwrap();
    assert_eq!(path, "runs/demo");
    let taken = refused(&["--port", host.split_once(':').unwrap().1]);
    assert!(
        taken.contains("a free port (--port) is required"),
        "{taken}"
    );
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.unwrap().success());
    assert!(child.wait().unwrap().success());
}
