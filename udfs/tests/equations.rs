//! Equations (1) to (6), clustering and metrics against tests/data/equations, made with NumPy, PyTorch and SciPy in float64,
//! independently of the engine: whole copies of the reference results of that name.

use polysema_kernels::sae::{InputNorm, Sae, TrainOptions, Trainer, Values, Variant};
use polysema_kernels::vector::{cosine_distance, product};
use polysema_kernels::{
    CosineDistances, Linkage, Linker, Polysemanticity, flat_clusters, polysemanticity,
};
use serde_json::Value;

const EXAMPLES: &str = include_str!("../../tests/data/equations/eq_examples.json");
const EDGE_CASES: &str = include_str!("../../tests/data/equations/distance_edge_cases.json");

fn cases(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("a list of cases")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn vector(value: &Value) -> Vec<f64> {
    list(value)
        .iter()
        .map(|x| x.as_f64().expect("a number"))
        .collect()
}

fn matrix(value: &Value) -> Vec<Vec<f64>> {
    list(value).iter().map(vector).collect()
}

fn float32(vector: &[f64]) -> Vec<f32> {
    vector.iter().map(|&x| x as f32).collect()
}

fn assert_near(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: {found}, expected {expected}"
    );
}

fn assert_same(found: Option<f64>, expected: &Value, what: &str) {
    match (found, expected.as_f64()) {
        (Some(found), Some(expected)) => assert_near(found, expected, 1e-6, what),
        (found, expected) => assert_eq!(found, expected, "{what}"),
    }
}

/// Distances, merges, partition and metrics of `rows` against one reference case.
fn check_case(case: &Value, rows: &[Vec<f32>], w: Option<&[f32]>, name: &str) {
    let slices: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let mut distances = CosineDistances::new();
    distances.compute(&slices, w).expect("finite rows");
    let n = rows.len();
    assert_eq!(
        distances.live().len(),
        n,
        "{name}: every row has a direction"
    );
    let square = matrix(&case["distance_matrix"]);
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
    for ((i, j), &found) in pairs.zip(distances.condensed()) {
        assert_near(
            f64::from(found),
            square[i][j],
            1e-6,
            &format!("{name}, pair {i}, {j}"),
        );
    }

    let mut linker = Linker::new();
    let steps = linker.link(distances.condensed(), n, Linkage::Average);
    // Which of several equal distances merges first is not part of the definition.
    let ties = ["identical", "scaled", "tie_square", "two_groups"].contains(&name);
    for (i, (step, merge)) in steps.iter().zip(matrix(&case["linkage"])).enumerate() {
        let what = format!("{name}, merge {i}");
        assert_near(f64::from(step.dissimilarity), merge[2], 1e-6, &what);
        if !ties {
            let found = [step.cluster1, step.cluster2, step.size].map(f64::from);
            assert_eq!(found, [merge[0], merge[1], merge[3]], "{what}");
        }
    }

    let clusters = flat_clusters(steps, n, 0.5, false);
    let labels = vector(&case["labels_t0_5"]);
    for (i, a) in labels.iter().enumerate() {
        for (j, b) in labels.iter().enumerate() {
            let joined = clusters.labels[i] == clusters.labels[j];
            assert_eq!(
                joined,
                a == b,
                "{name}: examples {i} and {j} share a cluster"
            );
        }
    }

    let Polysemanticity {
        n_clusters,
        max_distance,
        mean_distance,
        intra_cluster_distance,
        inter_cluster_distance,
    } = polysemanticity(distances.condensed(), &clusters);
    let metrics = &case["metrics"];
    // Section 5 of `docs/definitions.md` makes the number of clusters of nothing NULL, the file makes it 0.
    let expected = metrics["n_clusters"].as_u64().filter(|_| n > 0);
    assert_eq!(n_clusters.map(u64::from), expected, "{name}: n_clusters");
    assert_same(
        max_distance,
        &metrics["max_dist"],
        &format!("{name}: max_distance"),
    );
    assert_same(
        mean_distance,
        &metrics["mean_dist"],
        &format!("{name}: mean_distance"),
    );
    assert_same(
        intra_cluster_distance,
        &metrics["intra_pair"],
        &format!("{name}: intra"),
    );
    assert_same(
        inter_cluster_distance,
        &metrics["inter_pair"],
        &format!("{name}: inter"),
    );
}

#[test]
fn distance_edge_cases() {
    let cases = cases(EDGE_CASES);
    let (mut ran, mut zero) = (Vec::new(), Vec::new());
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let wide = matrix(&case["embeddings"]);
        let rows: Vec<Vec<f32>> = wide.iter().map(|row| float32(row)).collect();
        let is_zero = |row: &Vec<f32>| row.iter().all(|&x| x == 0.0);
        let square = matrix(&case["distance_matrix"]);
        for (i, a) in wide.iter().enumerate() {
            for (j, b) in wide.iter().enumerate() {
                let what = format!("{name}, float64 pair {i}, {j}");
                let zero = |row: &[f64]| row.iter().all(|&x| x == 0.0);
                match cosine_distance(a, b) {
                    None => assert!(zero(a) || zero(b), "{what}"),
                    // The file calls a vector zero whose squares underflow; ours keeps its direction.
                    Some(_) if name == "tiny_norm" => {}
                    Some(found) => assert_near(found, square[i][j], 1e-12, &what),
                }
            }
        }
        if rows.iter().any(is_zero) {
            // The file puts zero vectors at distance 1 from everything; ours have no direction.
            let slices: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let mut distances = CosineDistances::new();
            distances.compute(&slices, None).expect("finite rows");
            let n_zero = rows.iter().filter(|row| is_zero(row)).count();
            assert_eq!(distances.n_zero(), n_zero, "{name}");
            let live: Vec<u32> = (0..rows.len())
                .filter(|&i| !is_zero(&rows[i]))
                .map(|i| i as u32)
                .collect();
            assert_eq!(distances.live(), live, "{name}");
            zero.push(name);
        } else {
            check_case(case, &rows, None, name);
            ran.push(name);
        }
    }
    println!(
        "distance_edge_cases.json: equal {ran:?}; by our convention for zero vectors {zero:?}"
    );
    assert_eq!(ran.len() + zero.len(), 13, "every case was seen");
}

#[test]
fn equations_1_to_3() {
    let cases = cases(EXAMPLES);
    let mut n_distances = 0;
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let neuron = &case["neuron0"];
        let w = float32(&vector(&neuron["w"]));
        let h: Vec<Vec<f32>> = matrix(&neuron["pre_mlp"])
            .iter()
            .map(|h| float32(h))
            .collect();
        let mut embeddings = Vec::new();
        for (h, expected) in h.iter().zip(matrix(&neuron["embeddings"])) {
            let mut e = vec![0.0; w.len()];
            product(h, &w, &mut e);
            for (found, expected) in e.iter().zip(expected) {
                assert_near(f64::from(*found), expected, 1e-6, &format!("{name}, eq. 1"));
            }
            embeddings.push(e);
        }
        check_case(neuron, &h, Some(&w), &format!("{name}, weights given"));
        check_case(
            neuron,
            &embeddings,
            None,
            &format!("{name}, weights multiplied"),
        );

        // The distances inside the loss of eq. 4: the average embedding of a latent against an active row's.
        let inputs = &case["inputs"];
        let centre = vector(&inputs["b_dec"]);
        let (averages, weights) = (matrix(&inputs["h_avg"]), matrix(&inputs["W_enc"]));
        for (mut h, row) in matrix(&inputs["a"])
            .into_iter()
            .zip(list(&case["forward"]["distance"]))
        {
            if case["centered_h"].as_bool() == Some(true) {
                h.iter_mut().zip(&centre).for_each(|(h, c)| *h -= c);
            }
            for (j, expected) in list(row).iter().enumerate() {
                let Some(expected) = expected.as_f64() else {
                    continue;
                };
                let embed = |h: &[f64]| -> Vec<f64> {
                    h.iter().zip(&weights[j]).map(|(h, w)| h * w).collect()
                };
                let found = cosine_distance(&embed(&averages[j]), &embed(&h)).expect("a direction");
                assert_near(found, expected, 1e-12, &format!("{name}, latent {j}"));
                n_distances += 1;
            }
        }
    }
    println!(
        "eq_examples.json: embeddings, distances, merges, metrics of {} neurons",
        cases.len()
    );
    println!("eq_examples.json: {n_distances} latent distances");
    assert_eq!(cases.len(), 3, "every case was seen");
    assert!(n_distances > 0, "some latents are active");
}

fn flat(value: &Value) -> Vec<f32> {
    matrix(value).iter().flat_map(|row| float32(row)).collect()
}

/// `[d_in, d_sae]`, as torch's linear layers lie, to a row a latent.
fn transposed(value: &Value) -> Vec<f32> {
    let rows = matrix(value);
    let columns = 0..rows[0].len();
    columns
        .flat_map(|j| rows.iter().map(move |row| row[j] as f32))
        .collect()
}

fn assert_all_near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let scale = f64::from(expected.abs().max(1.0));
        let what = format!("{what}, {i}");
        assert_near(f64::from(*found), f64::from(*expected), 1e-5 * scale, &what);
    }
}

/// A training whose averages are the case's, with these weights of the loss's terms.
fn trainer(case: &Value, l1: f32, ne_loss: f32) -> Trainer {
    let inputs = &case["inputs"];
    let size = |name: &str| case[name].as_u64().expect("a size") as usize;
    let sae = Sae {
        d_in: size("d_in"),
        d_sae: size("d_sae"),
        variant: Variant::Relu,
        centered: true,
        w_enc: flat(&inputs["W_enc"]),
        b_enc: float32(&vector(&inputs["b_enc"])),
        w_dec: transposed(&inputs["W_dec"]),
        b_dec: float32(&vector(&inputs["b_dec"])),
        norm: InputNorm::None,
        w_skip: vec![],
        transcodes: false,
    };
    let options = TrainOptions {
        l1,
        ne_loss,
        ne_momentum: case["m"].as_f64().expect("a number") as f32,
        ne_start_step: 0,
        ne_centered: case["centered_h"].as_bool() == Some(true),
        ..TrainOptions::default()
    };
    let mut trainer = Trainer::new(sae, options).expect("options in their ranges");
    if ne_loss == 0.0 {
        return trainer;
    }
    let average = flat(&inputs["h_avg"]);
    let flags = list(&inputs["seen"]).iter();
    let seen: Vec<u8> = flags.map(|x| u8::from(x.as_bool() == Some(true))).collect();
    let saved: Vec<(&str, Vec<f32>, Vec<u64>)> = trainer
        .state()
        .into_iter()
        .map(|named| match named.values {
            Values::F32(x) => (named.name, x.to_vec(), vec![]),
            Values::U64(x) => (named.name, vec![], x.to_vec()),
            Values::U8(_) => (named.name, vec![], vec![]),
        })
        .collect();
    let restored = trainer.restore(|name| match name {
        "average_h" => Some(Values::F32(&average)),
        "seen" => Some(Values::U8(&seen)),
        name => {
            let (_, floats, counters) = saved.iter().find(|(n, ..)| *n == name)?;
            Some(match counters.is_empty() {
                true => Values::F32(floats),
                false => Values::U64(counters),
            })
        }
    });
    restored.expect("a state of its own");
    trainer
}

#[test]
fn equations_4_to_6() {
    let cases = cases(EXAMPLES);
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let x = flat(&case["inputs"]["a"]);
        let weight = |name: &str| case[name].as_f64().expect("a number") as f32;
        let mut whole = trainer(case, weight("lam1"), weight("lam2"));
        let (forward, ema) = (&case["forward"], &case["ema"]);
        let mut codes = Vec::new();
        whole.sae().encode(&x, &mut codes);
        assert_all_near(&codes, &flat(&forward["f"]), &format!("{name}, f"));
        let mut back = Vec::new();
        whole.sae().decode(&codes, &mut back);
        assert_all_near(&back, &flat(&forward["recon"]), &format!("{name}, recon"));

        let (losses, grads) = whole.losses_and_gradients(&x).expect("finite");
        for (term, found) in [
            ("total", losses.loss),
            ("mse", losses.mse),
            ("l1_batch_sum", losses.l1),
            ("ne", losses.ne_loss),
        ] {
            let expected = forward[term].as_f64().expect("a number");
            let what = format!("{name}, {term}");
            assert_near(found, expected, 1e-5 * expected.abs().max(1.0), &what);
        }
        // The embedding loss alone is what its weight adds.
        let mut others = trainer(case, weight("lam1"), 0.0);
        let (_, without) = others.losses_and_gradients(&x).expect("finite");
        for ((parameter, grad), (_, without)) in grads.iter().zip(without) {
            let field = parameter.replace('w', "W");
            let read = |value: &Value| match field.as_str() {
                "W_dec" => transposed(value),
                "W_enc" => flat(value),
                _ => float32(&vector(value)),
            };
            let expected = read(&case["grad_total"][&field]);
            assert_all_near(grad, &expected, &format!("{name}, gradient by {field}"));
            let alone: Vec<f32> = grad.iter().zip(&without).map(|(g, w)| g - w).collect();
            let mut expected = read(&case["grad_ne"][&field]);
            expected.iter_mut().for_each(|g| *g *= weight("lam2"));
            assert_all_near(&alone, &expected, &format!("{name}, eq. 4 by {field}"));
        }
        whole.step(&x).expect("finite");
        let average = whole
            .state()
            .into_iter()
            .find(|named| named.name == "average_h");
        let Some(Values::F32(average)) = average.map(|named| named.values) else {
            panic!("the averages are floats");
        };
        assert_all_near(
            average,
            &flat(&ema["sequential"]),
            &format!("{name}, eq. 6"),
        );
    }
    println!(
        "eq_examples.json: codes, losses, gradients, averages of {} cases",
        cases.len()
    );
}
