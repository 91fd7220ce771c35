//! What the end of a training says where its autoencoder is no good, and which option to turn.

use polysema_kernels::sae::evaluation::SaeMetrics;
use polysema_kernels::sae::{Sae, Variant};

use super::recipe::SaeOptions;

/// One sentence for each thing that is wrong.
pub(super) fn advice(found: &SaeMetrics, sae: &Sae, options: &SaeOptions) -> Vec<String> {
    let top_k = matches!(
        sae.variant,
        Variant::TopK { .. } | Variant::BatchTopK { .. }
    );
    let (sparser, denser) = match top_k {
        true => ("lower k", "raise k"),
        false => ("raise l1", "lower l1"),
    };
    let half = sae.d_in as f64 / 2.0;
    let is_dense = found.l0 > half;
    let mut said = vec![];
    match found.fvu {
        None => {
            said.push("explained variance is undefined, since the rows do not vary".to_string())
        }
        Some(fvu) if fvu > 1.0 => {
            // More active latents than that is no cure.
            let denser = match is_dense {
                true => String::new(),
                false => format!("{denser}, "),
            };
            said.push(format!(
                "explained variance is {:.2}, worse than the mean of the rows: {denser}raise epochs, or lower \
                 learning_rate",
                1.0 - fvu
            ));
        }
        Some(_) => {}
    }
    if found.l0 == 0.0 {
        said.push(format!("l0 is 0, no latent is ever active: {denser}"));
    } else if is_dense {
        let longer = match top_k {
            true => "",
            false => ", or raise epochs: a short training has not switched latents off yet",
        };
        said.push(format!(
            "l0 is {:.1}, above {half}, half of the vectors' width: {sparser}{longer}",
            found.l0
        ));
    }
    if found.frac_alive < 0.5 {
        let revive = match options.revives().as_str() {
            "leave" => "set dead_latents, ",
            _ => "",
        };
        said.push(format!(
            "{:.0} % of the latents are never active: {revive}lower d_sae or learning_rate, or raise warmup",
            100.0 * (1.0 - found.frac_alive)
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use polysema_kernels::sae::Init;

    fn metrics(fvu: Option<f64>, l0: f64, frac_alive: f64) -> SaeMetrics {
        SaeMetrics {
            rows: 10,
            mse: Some(1.0),
            sse_per_row: Some(1.0),
            fvu,
            l0,
            l0_percent: 0.0,
            l1_per_row: 0.0,
            l1_per_batch: 0.0,
            frac_alive,
            max_distance: None,
            mean_distance: None,
            size: None,
        }
    }

    #[test]
    fn each_fault_names_the_option_to_turn() {
        let options = SaeOptions::new(Options::default()).expect("defaults");
        let said = |name: &str, found: SaeMetrics| {
            let variant = Variant::untrained(name, 16, 2).expect("a variant");
            let sae = Sae::init(8, 16, variant, true, Init::Tied, 0);
            advice(&found, &sae, &options).join("; ")
        };
        assert_eq!(said("relu", metrics(Some(0.1), 4.0, 0.5)), "");
        assert_eq!(
            said("relu", metrics(Some(1.33), 0.0, 0.0)),
            "explained variance is -0.33, worse than the mean of the rows: lower l1, raise epochs, or lower \
             learning_rate; l0 is 0, no latent is ever active: lower l1; 100 % of the latents are never active: set \
             dead_latents, lower d_sae or learning_rate, or raise warmup"
        );
        assert_eq!(
            said("gated", metrics(Some(0.1), 4.1, 1.0)),
            "l0 is 4.1, above 4, half of the vectors' width: raise l1, or raise epochs: a short training has not \
             switched latents off yet"
        );
        // Never both more and fewer active latents.
        assert_eq!(
            said("relu", metrics(Some(12.77), 7.5, 1.0)),
            "explained variance is -11.77, worse than the mean of the rows: raise epochs, or lower learning_rate; \
             l0 is 7.5, above 4, half of the vectors' width: raise l1, or raise epochs: a short training has not \
             switched latents off yet"
        );
        assert_eq!(
            said("topk", metrics(Some(0.1), 4.1, 1.0)),
            "l0 is 4.1, above 4, half of the vectors' width: lower k"
        );
        assert_eq!(
            said("relu", metrics(None, 1.0, 1.0)),
            "explained variance is undefined, since the rows do not vary"
        );
    }
}
