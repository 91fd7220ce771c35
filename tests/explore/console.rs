//! The console: what a reader may ask, and what nobody may.

use url::form_urlencoded::byte_serialize;

use super::site::{Got, STORE, Site, run};

fn ask(site: &Site, place: &str, sql: &str) -> Got {
    let sql: String = byte_serialize(sql.as_bytes()).collect();
    site.get(&format!("{place}?sql={sql}"))
}

#[test]
fn an_answer_is_a_table_and_a_picture_and_data() {
    let site = Site::of(&STORE.1);
    let sql = "SELECT layer, neuron, max_activation, mean_activation FROM neurons WHERE layer = 1 ORDER BY neuron";
    let page = ask(&site, "/runs/demo/sql", sql);
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(text.contains("The first 200 of 512 rows"));
    assert!(text.contains("href=\"/runs/demo/layers/1/neurons/7\""));
    assert_eq!(text.matches("<circle class=\"point\"").count(), 512);
    let data = ask(&site, "/runs/demo/sql.json", sql).json();
    assert_eq!(
        data["answer"]["rows"],
        serde_json::Value::from(run(&STORE.1, sql))
    );
    // Of a few rows bars, with what was chosen; of what was not selected, the run by its name.
    let bars = "SELECT neuron, max_activation FROM demo.neurons WHERE layer = 0 AND neuron < 5";
    let text = ask(&site, "/sql", bars).text();
    assert_eq!(text.matches("<svg class=\"meter\"").count(), 5);
    let none: String = byte_serialize(bars.as_bytes()).collect();
    let text = site.get(&format!("/sql?sql={none}&chart=none")).text();
    assert!(!text.contains("<svg class=\"meter\""));
    let text = site
        .get(&format!("/sql?sql={none}&chart=points&x=neuron"))
        .text();
    assert_eq!(text.matches("<circle class=\"point\"").count(), 5);
    let unknown = site.get(&format!("/sql?sql={none}&x=%3Cb%3E"));
    assert_eq!(unknown.status, 400);
    assert!(
        unknown.text().contains("neuron, max_activation"),
        "{}",
        unknown.text()
    );
    // Settings hold for what is asked with them.
    let strict = "SET polysema.threshold = 0.1; SELECT count(*) AS n FROM feature_clusters(0, 1)";
    assert_eq!(ask(&site, "/runs/demo/sql", strict).status, 200);
    let of_settings = "SET polysema.threshold = 0.1; SHOW polysema.threshold";
    assert!(ask(&site, "/sql", of_settings).text().contains(">0.1<"));
    assert!(
        !ask(&site, "/sql", "SHOW polysema.threshold")
            .text()
            .contains(">0.1<")
    );
}

#[test]
fn nothing_that_is_written_changes_anything() {
    let site = Site::of(&STORE.1);
    let before = run(&STORE.1, "SELECT count(*) AS n FROM polysema.info.tables");
    for (sql, words) in [
        (
            "CREATE TABLE t AS SELECT 1",
            "a session that may create tables is required",
        ),
        (
            "CREATE VIEW v AS SELECT 1",
            "a session that may create tables is required",
        ),
        (
            "INSERT INTO demo.documents SELECT * FROM demo.documents",
            "required",
        ),
        (
            "DROP SCHEMA demo CASCADE",
            "a session that may run jobs is required",
        ),
        (
            "CALL drop_run('demo')",
            "a session that may run jobs is required",
        ),
        (
            "CALL ingest('x', 'tests/data/demo/model', 'tests/data/demo/corpus.jsonl')",
            "a session that may",
        ),
        (
            "COPY (SELECT 1) TO 'x.csv'",
            "a session that may write files is required",
        ),
        (
            "SELECT * FROM '/etc/passwd'",
            "a session that may read files is required",
        ),
        (
            "CREATE EXTERNAL TABLE e STORED AS CSV LOCATION '/etc/passwd'",
            "a session that may",
        ),
        (
            "SET datafusion.execution.batch_size = 1",
            "a setting that this session may change is required",
        ),
        (
            "SELECT 1; CALL drop_run('demo')",
            "a session that may run jobs is required",
        ),
    ] {
        let got = ask(&site, "/runs/demo/sql", sql);
        let text = got.text();
        assert_eq!(got.status, 400, "{sql}: {text}");
        assert!(text.contains(words), "{sql}: {text}");
        assert!(
            text.contains("role=\"alert\"") && text.contains("<textarea"),
            "{sql}"
        );
    }
    let after = run(&STORE.1, "SELECT count(*) AS n FROM polysema.info.tables");
    assert_eq!(before, after);
    assert_eq!(site.get("/runs/demo").status, 200);
}

#[test]
fn pages_of_others_do_not_reach_it() {
    let site = Site::of(&STORE.1);
    let path = "/runs/demo/sql?sql=SELECT+1";
    for heads in [
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n",
        "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n",
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
    ] {
        let got = site.get_with(path, heads);
        assert_eq!(got.status, 403, "{heads}");
        assert!(!got.text().contains("id=\"answer\""), "{heads}");
    }
    let host = format!("localhost:{}", site.address.port());
    let body = "sql=SELECT+1";
    let posted = site.send(&format!(
        "POST /sql HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(posted.status, 405);
    let other = site
        .send("GET /sql?sql=SELECT+1 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert_eq!(other.status, 421);
}

#[test]
fn a_mistake_says_where_it_is_and_what_is_known() {
    let site = Site::of(&STORE.1);
    let got = ask(
        &site,
        "/runs/demo/sql",
        "SELECT layer,\n  neuro FROM neurons",
    );
    let text = got.text();
    assert_eq!(got.status, 400);
    assert!(text.contains("line 2, column 3"), "{text}");
    assert!(text.contains("  neuro FROM neurons\n  ^"), "{text}");
    assert!(text.contains("is &#39;neuron&#39; meant"), "{text}");
    // What was written is still there, as text.
    let hostile = "SELECT '</textarea><script>alert(1)</script>' AS \"<b>\", nope";
    let text = ask(&site, "/sql", hostile).text();
    assert!(
        !text.contains("<script>alert") && !text.contains("</textarea><"),
        "{text}"
    );
    let shown = ask(
        &site,
        "/sql",
        "SELECT '<img src=x onerror=alert(1)>' AS \"<b>\", U&'\\202E' AS c, NULL AS n",
    )
    .text();
    assert!(!shown.contains("<img") && !shown.contains("<b>"), "{shown}");
    let data = ask(&site, "/sql.json", "SELECT nope");
    assert_eq!(data.status, 400);
    assert!(data.json()["error"].as_str().unwrap().contains("nope"));
    assert_eq!(ask(&site, "/sql", "-- nothing").status, 400);
    assert_eq!(ask(&site, "/runs/none/sql", "SELECT 1").status, 404);
}

#[test]
fn what_is_cut_is_said_and_not_given_as_all() {
    let site = Site::of(&STORE.1);
    let sql = "SELECT value FROM generate_series(1, 20000)";
    let page = ask(&site, "/sql", sql);
    assert_eq!(page.status, 200);
    assert!(
        page.text()
            .contains("These are not all rows: after 10000 rows"),
        "{}",
        page.text()
    );
    for form in ["json", "arrow"] {
        let data = ask(&site, &format!("/sql.{form}"), sql);
        assert_eq!(data.status, 400);
        assert!(
            data.json()["error"]
                .as_str()
                .unwrap()
                .contains("after 10000 rows")
        );
    }
    // Long rows are cut, too; all of them are in the data.
    let wide = "SELECT w_in FROM demo.neurons WHERE layer = 0 LIMIT 100";
    let page = ask(&site, "/sql", wide);
    assert!(page.body.len() < 300_000, "{}", page.body.len());
    assert_eq!(
        ask(&site, "/sql.json", wide).json()["answer"]["rows"]
            .as_array()
            .unwrap()
            .len(),
        100
    );
    let long = format!("SELECT 1 -- {}", "x".repeat(11_000));
    let refused = ask(&site, "/sql", &long);
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("at most 10000 characters"));
}

#[test]
fn names_and_questions_are_offered() {
    let site = Site::of(&STORE.1);
    let page = site.get("/runs/demo/sql").text();
    for name in [
        "feature_clusters(",
        "neurons",
        "max_activation",
        "polysema.info.runs",
    ] {
        assert!(page.contains(&format!("data-name=\"{name}\"")), "{name}");
    }
    assert!(page.contains("/assets/console-"));
    let script = page
        .split("src=\"")
        .find(|part| part.starts_with("/assets/console-"))
        .unwrap();
    assert_eq!(site.get(script.split('"').next().unwrap()).status, 200);
    let unknown = site.get("/runs/demo/sql?question=nope");
    assert_eq!(unknown.status, 404);
    assert_eq!(
        site.get("/runs/demo/sql?question=a&sql=SELECT+1").status,
        400
    );
}
