//! A file of two linear layers one after the other, as Foote's published autoencoders are.

use std::path::Path;

use datafusion::error::Result;
use polysema_kernels::sae::{InputNorm, Sae, Variant};

use super::{SaeConfig, SaeFile};
use crate::files::tensors::Tensors;

/// `b_dec` is both the second layer's bias and what is taken off the vectors.
pub(super) fn read(path: &Path) -> Result<SaeFile> {
    let mut tensors = Tensors::read(path)?;
    let [d_sae, d_in] = tensors.matrix("0.weight")?;
    let dtype = tensors.dtype("0.weight")?;
    let sae = Sae {
        d_in,
        d_sae,
        variant: Variant::Relu,
        centered: true,
        w_enc: tensors.take("0.weight", &[d_sae, d_in])?,
        b_enc: tensors.take("0.bias", &[d_sae])?,
        w_dec: tensors.take_transposed("1.weight", [d_in, d_sae])?,
        b_dec: tensors.take("1.bias", &[d_in])?,
        norm: InputNorm::None,
        w_skip: vec![],
        transcodes: false,
    };
    tensors.finish()?;
    let config = SaeConfig {
        architecture: "Sequential".into(),
        dtype,
        ..SaeConfig::default()
    };
    Ok(SaeFile { sae, config })
}
