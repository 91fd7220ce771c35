//! The two ends of a model: its embedding and what stands behind its blocks.

use datafusion::error::Result;
use polysema_kernels::network::matmul::Layout;

use super::super::linear::{Linear, Norm};
use super::embedding::{Embedding, Patches, Reads, TokenTable};
use super::parts::Builder;
use super::read_out::{Pooled, ReadOut, Transform};
use super::spec::{PatchSpec, Positions};
use crate::files::weight::Weight;

impl Builder<'_> {
    pub(super) fn ends(&mut self) -> Result<(Embedding, ReadOut)> {
        let (spec, d) = (self.spec, self.spec.d_model);
        let encoder = spec.encoder.as_ref();
        let transform = self.transform()?;
        let (mut outward, mut inward) = (None, None);
        if spec.d_embed != d {
            let [name, back] = spec.names.projections.map(|name| self.inner(name));
            inward = Some(self.linear(&name, spec.d_embed, d, false, Layout::OutIn)?);
            outward = Some(self.linear(&back, d, spec.d_embed, false, Layout::OutIn)?);
        }
        let (source, head) = match encoder.and_then(|encoder| encoder.patches.as_ref()) {
            Some(patches) => (Reads::Patches(self.patches(patches)?), self.classifier()?),
            None => {
                let masked = encoder.is_some_and(|encoder| encoder.transform.is_some());
                let (table, head) = self.tokens_and_head(!masked || transform.is_some())?;
                let tokens = TokenTable {
                    table,
                    width: spec.d_embed,
                    scale: spec.embedding_scale,
                    inward,
                };
                (Reads::Tokens(tokens), head)
            }
        };
        let embedding = Embedding {
            source,
            kind: self.kind()?,
            positions: self.positions()?,
            norm: self.norm_of_stream(encoder.and_then(|encoder| encoder.embedding_norm))?,
        };
        let read_out = ReadOut {
            final_norm: self.norm_of_stream(spec.names.final_norm)?,
            outward,
            head,
            transform,
            pooled: encoder.map_or(Pooled::Never, |encoder| encoder.pooled),
            logit_cap: spec.logit_cap,
        };
        Ok((embedding, read_out))
    }

    /// A norm of the residual stream, where the family has it.
    fn norm_of_stream(&mut self, name: Option<&str>) -> Result<Option<Norm>> {
        let Some(name) = name else { return Ok(None) };
        let name = self.inner(name);
        self.norm(&name, self.spec.norm, self.spec.d_model)
            .map(Some)
    }

    /// The token embedding and what turns vectors into logits, which a model may be stored without; `readable` is whether
    /// what comes before that is there.
    fn tokens_and_head(&mut self, readable: bool) -> Result<(Weight, Option<Linear>)> {
        let (spec, names) = (self.spec, &self.spec.names);
        let embedding = self.inner(format!("{}.weight", names.embedding));
        let head = format!("{}.weight", names.head);
        let dims = [spec.d_vocab, spec.d_embed];
        // Some tied models are stored with the head alone. A head that is stored beside the embedding counts, whatever
        // the configuration says.
        let has_head = self.tensors.contains(&head);
        let head_alone = spec.tied && has_head && !self.tensors.contains(&embedding);
        let (tokens, weight) = match head_alone {
            true => {
                let both = self.tensors.weight(&head, &dims)?;
                (both.clone(), Some(both))
            }
            false => {
                let tokens = self.tensors.weight(&embedding, &dims)?;
                let weight = match has_head {
                    true => Some(self.tensors.weight(&head, &dims)?),
                    false => Some(tokens.clone()).filter(|_| spec.tied),
                };
                (tokens, weight)
            }
        };
        let weight = weight.filter(|_| readable);
        let bias = match spec.bias.head && weight.is_some() {
            true => self.tensors.take(&self.head_bias(), &[spec.d_vocab])?,
            false => vec![],
        };
        let head = weight.map(|weight| Linear {
            weight,
            bias,
            layout: Layout::OutIn,
            d_in: spec.d_embed,
        });
        Ok((tokens, head))
    }

    /// The bias of the head, which a masked model has twice under two names in some files.
    fn head_bias(&self) -> String {
        let usual = format!("{}.bias", self.spec.names.head);
        let encoder = self.spec.encoder.as_ref();
        let other = encoder.and_then(|encoder| Some(encoder.transform.as_ref()?.head_bias));
        match other.filter(|name| self.tensors.contains(name)) {
            Some(other) => other.to_string(),
            None => usual,
        }
    }

    /// Logits of classes, which a model of images may be stored without.
    fn classifier(&mut self) -> Result<Option<Linear>> {
        let name = self.spec.names.head;
        let weight = format!("{name}.weight");
        if name.is_empty() || !self.tensors.contains(&weight) {
            return Ok(None);
        }
        let [n, _] = self.tensors.matrix(&weight)?;
        let head = self.linear(name, self.spec.d_model, n, true, Layout::OutIn)?;
        Ok(Some(head))
    }

    /// What stands before the head of a masked model, which it may be stored without.
    fn transform(&mut self) -> Result<Option<Transform>> {
        let spec = self.spec;
        let names = spec
            .encoder
            .as_ref()
            .and_then(|encoder| encoder.transform.as_ref());
        let Some(names) = names else { return Ok(None) };
        if !self.tensors.contains(&format!("{}.weight", names.map)) {
            return Ok(None);
        }
        Ok(Some(Transform {
            map: self.linear(names.map, spec.d_model, spec.d_model, true, Layout::OutIn)?,
            activation: spec.mlp.activation,
            norm: self.norm(names.norm, spec.norm, spec.d_model)?,
        }))
    }

    /// The vector of the kind that all tokens are of.
    fn kind(&mut self) -> Result<Vec<f32>> {
        let kinds = self.spec.encoder.as_ref().and_then(|encoder| encoder.kinds);
        let Some((name, n)) = kinds else {
            return Ok(vec![]);
        };
        let (name, d) = (self.inner(name), self.spec.d_model);
        Ok(self.table(&name, &[n, d])?.part(0..d).to_vec())
    }

    fn positions(&mut self) -> Result<Option<Weight>> {
        let spec = self.spec;
        let Positions::Learned { name, offset } = spec.positions else {
            return Ok(None);
        };
        let name = self.inner(name);
        let table = self.table(&name, &[spec.n_ctx + offset, spec.d_model])?;
        Ok(Some(table.part(offset * spec.d_model..table.len())))
    }

    fn patches(&mut self, patches: &PatchSpec) -> Result<Patches> {
        let (grid, d) = (patches.grid, self.spec.d_model);
        let name = self.inner(patches.name);
        let [height, width] = grid.patch;
        let dims = [d, grid.channels, height, width];
        let weight = self.tensors.weight(&format!("{name}.weight"), &dims)?;
        let bias = self.bias(&name, d, patches.bias)?;
        let class = self.inner(patches.class);
        Ok(Patches {
            grid,
            map: Linear {
                weight,
                bias,
                layout: Layout::OutIn,
                d_in: grid.patch_values(),
            },
            class: self.table(&class, &[d])?.to_vec(),
        })
    }
}
