//! Takes maps and norms out of a model's tensors as its description says they lie.

use std::fmt::Display;

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::config::Config;
use super::super::linear::{Linear, Norm};
use super::spec::{DecoderSpec, NormSpec};
use crate::files::tensors::Tensors;
use crate::files::weight::Weight;

/// Takes the tensors that a description names.
pub(super) struct Builder<'a> {
    pub(super) spec: &'a DecoderSpec,
    pub(super) config: &'a Config,
    pub(super) tensors: Tensors,
    /// Before the names of all but the head.
    pub(super) prefix: &'static str,
}

impl Builder<'_> {
    /// The full name of a tensor that is not the head.
    pub(super) fn inner(&self, name: impl Display) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn norm(&mut self, name: &str, spec: NormSpec, d: usize) -> Result<Norm> {
        let mut gamma = match spec.scale {
            true => self.tensors.take(&format!("{name}.weight"), &[d])?,
            false => self.without(&format!("{name}.weight"), vec![1.0; d])?,
        };
        gamma.iter_mut().for_each(|g| *g += spec.offset);
        let bias = format!("{name}.bias");
        let beta = match spec.bias {
            true => self.tensors.take(&bias, &[d])?,
            false => self.without(&bias, vec![0.0; d])?,
        };
        Ok(Norm {
            kind: spec.kind,
            gamma,
            beta,
            epsilon: spec.epsilon,
        })
    }

    pub(super) fn linear(
        &mut self,
        name: &str,
        d_in: usize,
        d_out: usize,
        bias: bool,
        layout: Layout,
    ) -> Result<Linear> {
        let dims = match layout {
            Layout::InOut => [d_in, d_out],
            Layout::OutIn => [d_out, d_in],
        };
        let weight = self.tensors.weight(&format!("{name}.weight"), &dims)?;
        let bias = self.bias(name, d_out, bias)?;
        Ok(Linear {
            weight,
            bias,
            layout,
            d_in,
        })
    }

    /// The bias of a map, if it has one.
    pub(super) fn bias(&mut self, name: &str, d_out: usize, has: bool) -> Result<Vec<f32>> {
        let name = format!("{name}.bias");
        match has {
            true => self.tensors.take(&name, &[d_out]),
            false => self.without(&name, vec![]),
        }
    }

    /// What stands for a tensor that the configuration says there is not. One that is there would change what is
    /// computed.
    fn without(&self, name: &str, instead: Vec<f32>) -> Result<Vec<f32>> {
        match self.tensors.contains(name) {
            false => Ok(instead),
            true => Err(self.config.invalid(format!(
                "a configuration with {name} is required, got the tensor but no switch that says it counts"
            ))),
        }
    }

    /// A table that may be stored with leading dimensions of one.
    pub(super) fn table(&mut self, name: &str, dims: &[usize]) -> Result<Weight> {
        let stored = self.tensors.dims(name)?;
        let leading = &stored[..stored.len().saturating_sub(dims.len())];
        let lies = match leading.iter().all(|n| *n == 1) {
            true => [leading, dims].concat(),
            false => dims.to_vec(),
        };
        self.tensors.weight(name, &lies)
    }
}
