//! Types of numbers as files hold them, and as float32.

use std::borrow::Cow;

use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;
use datafusion::arrow::datatypes::{ArrowPrimitiveType, Float16Type};

/// Types of elements that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    F16,
    Bf16,
    F32,
    F64,
    I32,
    I64,
    U8,
    /// Blocks of some elements, of few bits each, as GGUF files have them.
    Blocks(GgmlDType),
}

impl ElementType {
    pub(super) const NPY: [(&str, ElementType); 6] = [
        ("<f2", ElementType::F16),
        ("<f4", ElementType::F32),
        ("<f8", ElementType::F64),
        ("<i4", ElementType::I32),
        ("<i8", ElementType::I64),
        ("|u1", ElementType::U8),
    ];
    pub(super) const SAFETENSORS: [(&str, ElementType); 7] = [
        ("F16", ElementType::F16),
        ("BF16", ElementType::Bf16),
        ("F32", ElementType::F32),
        ("F64", ElementType::F64),
        ("I32", ElementType::I32),
        ("I64", ElementType::I64),
        ("U8", ElementType::U8),
    ];

    pub(super) fn find(known: &[(&str, ElementType)], name: &str) -> Option<ElementType> {
        known
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| *kind)
    }

    /// Bytes of an element, or of a block of them.
    pub fn width(self) -> usize {
        match self {
            ElementType::U8 => 1,
            ElementType::F16 | ElementType::Bf16 => 2,
            ElementType::F32 | ElementType::I32 => 4,
            ElementType::F64 | ElementType::I64 => 8,
            ElementType::Blocks(kind) => kind.type_size(),
        }
    }

    /// Elements of a block; 1 of those that stand alone.
    pub fn block(self) -> usize {
        match self {
            ElementType::Blocks(kind) => kind.block_size(),
            _ => 1,
        }
    }

    /// Whether its elements are floats.
    pub fn is_float(self) -> bool {
        !matches!(self, ElementType::I32 | ElementType::I64 | ElementType::U8)
    }

    /// Bytes of so many elements, whole blocks of them.
    pub(super) fn bytes(self, elements: usize) -> usize {
        (elements / self.block()).saturating_mul(self.width())
    }

    /// Adds floats to `out`; of whole numbers there are none.
    pub(super) fn floats(self, bytes: &[u8], out: &mut Vec<f32>) {
        if self.is_float() {
            let start = out.len();
            out.resize(start + bytes.len() / self.width() * self.block(), 0.0);
            self.widen(bytes, &mut out[start..]);
        }
    }

    /// Floats as float32, as many as `out` holds; of whole numbers none.
    pub(super) fn widen(self, bytes: &[u8], out: &mut [f32]) {
        fn each<const N: usize>(bytes: &[u8], out: &mut [f32], f: impl Fn([u8; N]) -> f32) {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f(*b);
            }
        }
        match self {
            ElementType::F32 => each(bytes, out, f32::from_le_bytes),
            ElementType::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            ElementType::F16 => {
                type Half = <Float16Type as ArrowPrimitiveType>::Native;
                each(bytes, out, |b| {
                    Half::from_bits(u16::from_le_bytes(b)).to_f32()
                });
            }
            ElementType::Bf16 => each(bytes, out, |b| {
                f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
            }),
            ElementType::Blocks(kind) => {
                let whole = out.len() / kind.block_size();
                let bytes = &bytes[..whole * kind.type_size()];
                let blocks = kind.from_data(Cow::Borrowed(bytes));
                if let Ok(CpuStorage::F32(values)) = blocks.dequantize(whole * kind.block_size()) {
                    out[..values.len()].copy_from_slice(&values);
                }
            }
            ElementType::I32 | ElementType::I64 | ElementType::U8 => {}
        }
    }
}
