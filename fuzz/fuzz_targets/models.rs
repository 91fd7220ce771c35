//! Models: an input is the name of a file of a tiny model, `llama/config.json` or `llama.gguf`, a line, then its content. A
//! model that is read is asked.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use polysema::models::{Input, LayerNorm, Unwatched, load};
use polysema_fuzz::{Folders, all_of, panics, test_data};

static MODELS: LazyLock<Folders> = LazyLock::new(|| {
    let mut all = all_of("architectures");
    all.retain(|(_, path)| path.is_dir());
    all.extend(all_of("gguf/models"));
    all.push((
        "mlp.safetensors".to_string(),
        test_data("mnist-tiny/mlp.safetensors"),
    ));
    all.push(("torch-llama".to_string(), test_data("torch-llama")));
    Folders::new("models", &all)
});

fuzz_target!(init: panics::watch(), |input: &[u8]| {
    MODELS.with_input(input, |folder: &Path| {
        let Ok(loaded) = load(folder) else {
            return;
        };
        let model = &loaded.model;
        for (layer, info) in model.layers().iter().enumerate() {
            let weights = model.neuron_weights(layer, LayerNorm::Folded);
            assert!(weights.is_err() || weights.is_ok_and(|w| w.w_in.len() == info.n_neurons * info.d_in));
        }
        let ids = [0, 1, 2, 1];
        let vector: Vec<f32>;
        let input = match (model.d_vocab(), model.image()) {
            (0, Some(grid)) => {
                vector = vec![0.5; grid.values()];
                Input::Vectors { values: &vector, width: vector.len() }
            }
            (0, None) => {
                vector = vec![0.5; model.layers().first().map_or(1, |layer| layer.d_in)];
                Input::Vectors { values: &vector, width: vector.len() }
            }
            _ => Input::Tokens { ids: &ids, seq: 2 },
        };
        let _ = model.logits(input, &mut Unwatched);
    });
});
