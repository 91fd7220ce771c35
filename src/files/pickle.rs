//! The few pickle instructions a state dict is written with, run on a stack of our own: nothing is imported or called,
//! and whatever else a file names is refused by its name.
//!
//! Values lie in one list and refer to each other by index, so that neither sharing nor nesting costs more than the
//! pickle is long. candle's reader of such files is not used: it leaves out what it does not know (the `IntStorage` of
//! a top-k's `k`, a forbidden global) with a line on stderr, indexes tuples unchecked, and copies every memoised
//! value. Above 400 lines, since the instructions share one stack.

use std::cell::Cell;
use std::collections::HashMap;

use super::arrays::ElementType;

/// More dimensions than any tensor of a network has; chosen, not tuned.
const MAX_RANK: usize = 8;

/// Every class and function a state dict needs.
const GLOBALS: [(&str, Global); 11] = [
    ("collections.OrderedDict", Global::OrderedDict),
    ("torch._utils._rebuild_tensor_v2", Global::Tensor),
    ("torch._utils._rebuild_parameter", Global::Parameter),
    ("torch.FloatStorage", Global::Storage(ElementType::F32)),
    ("torch.DoubleStorage", Global::Storage(ElementType::F64)),
    ("torch.HalfStorage", Global::Storage(ElementType::F16)),
    ("torch.BFloat16Storage", Global::Storage(ElementType::Bf16)),
    ("torch.IntStorage", Global::Storage(ElementType::I32)),
    ("torch.LongStorage", Global::Storage(ElementType::I64)),
    ("torch.BoolStorage", Global::Storage(ElementType::U8)),
    ("torch.ByteStorage", Global::Storage(ElementType::U8)),
];

/// Bytes of all names and words that are taken out, an entry's own included. A text is in the pickle once, however often it is
/// named; chosen, not tuned.
const MOST_TAKEN: usize = 1 << 27;
const ENTRY: usize = 1 << 8;

type Result<T> = std::result::Result<T, String>;
/// Index of a node.
type Id = usize;

/// Where a tensor's numbers lie.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    pub kind: ElementType,
    /// Name of its storage.
    pub storage: String,
    /// Numbers in the storage.
    pub storage_len: usize,
    /// First number of the tensor in the storage.
    pub offset: usize,
    pub dims: Vec<usize>,
    /// Numbers between neighbours along each dimension.
    pub strides: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Global {
    OrderedDict,
    Tensor,
    Parameter,
    Storage(ElementType),
}

enum Node {
    /// None, a truth value or a float: read past, never used.
    Other,
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage {
        kind: ElementType,
        key: Id,
        len: usize,
    },
    Tensor(TensorNode),
}

struct TensorNode {
    storage: Id,
    offset: usize,
    dims: Vec<usize>,
    strides: Vec<usize>,
}

/// What a state dict says in words beside its tensors.
#[derive(Debug, Clone, PartialEq)]
pub enum Pickled {
    Text(String),
    Int(i64),
}

/// A pickled state dict.
#[derive(Debug, Default)]
pub struct StateDict {
    /// Tensors by name.
    pub tensors: Vec<(String, StoredTensor)>,
    /// Texts and whole numbers by name, those of a dictionary within it as `dictionary.name`.
    pub words: Vec<(String, Pickled)>,
}

/// The tensors of a pickled state dict, and what it says beside them.
pub fn state_dict(pickle: &[u8]) -> Result<StateDict> {
    let mut machine = Machine {
        rest: pickle,
        nodes: vec![],
        stack: vec![],
        marks: vec![],
        memo: HashMap::new(),
        taken: Cell::new(0),
    };
    while !machine.step()? {}
    let top = machine.pop()?;
    let Node::Dict(entries) = &machine.nodes[top] else {
        return Err("a dictionary of tensors is required, got something else".into());
    };
    let mut found = StateDict::default();
    for (name, value) in entries {
        let name = machine.take_text(*name)?;
        if let Some(word) = machine.word(*value)? {
            found.words.push((name, word));
        } else if let Node::Dict(inner) = &machine.nodes[*value] {
            for (key, value) in inner {
                machine.count(name.len())?;
                let name = format!("{name}.{}", machine.take_text(*key)?);
                let word = machine.word(*value)?;
                let word = word.ok_or_else(|| format!("entry {name}: a word is required"))?;
                found.words.push((name, word));
            }
        } else {
            let tensor = machine.stored(*value);
            let tensor = tensor.map_err(|e| format!("entry {name}: {e}"))?;
            found.tensors.push((name, tensor));
        }
    }
    Ok(found)
}

struct Machine<'a> {
    rest: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Bytes of names and words that were taken out.
    taken: Cell<usize>,
}

impl<'a> Machine<'a> {
    /// Runs one instruction; true after the last. Opcodes are those of Python's `pickletools`, protocol 2.
    fn step(&mut self) -> Result<bool> {
        let [op] = self.bytes()?;
        match op {
            0x80 => {
                let [protocol] = self.bytes()?;
                if protocol != 2 {
                    return Err(format!("pickle protocol 2 is required, got {protocol}"));
                }
            }
            b'.' => return Ok(true),
            b'(' => self.marks.push(self.stack.len()),
            b'c' => self.global()?,
            b'R' => self.reduce()?,
            b'Q' => self.persistent()?,
            b'b' => self.build()?,
            b'}' => self.push(Node::Dict(vec![])),
            b's' => {
                let height = self.stack.len().saturating_sub(2);
                self.set_items(height)?;
            }
            b'u' => {
                let height = self.mark()?;
                self.set_items(height)?;
            }
            b')' => self.push(Node::Tuple(vec![])),
            0x85..=0x87 => {
                let len = usize::from(op - 0x84);
                let height = self.stack.len().checked_sub(len);
                self.tuple(height.ok_or_else(ended)?);
            }
            b't' => {
                let height = self.mark()?;
                self.tuple(height);
            }
            b'q' => {
                let [slot] = self.bytes()?;
                self.remember(slot.into())?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.bytes()?);
                self.remember(slot)?;
            }
            b'h' => {
                let [slot] = self.bytes()?;
                self.recall(slot.into())?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.bytes()?);
                self.recall(slot)?;
            }
            op => self.scalar(op)?,
        }
        Ok(false)
    }

    fn scalar(&mut self, op: u8) -> Result<()> {
        let node = match op {
            b'N' | 0x88 | 0x89 => Node::Other,
            b'G' => {
                self.bytes::<8>()?;
                Node::Other
            }
            b'K' => Node::Int(u8::from_le_bytes(self.bytes()?).into()),
            b'M' => Node::Int(u16::from_le_bytes(self.bytes()?).into()),
            b'J' => Node::Int(i32::from_le_bytes(self.bytes()?).into()),
            0x8a => Node::Int(self.long()?),
            b'X' => {
                let len = u32::from_le_bytes(self.bytes()?);
                let text = self.slice(usize::try_from(len).map_err(|_| ended())?)?;
                let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
                Node::Text(text.to_string())
            }
            op => {
                return Err(format!(
                    "the pickle instructions of a state dict are required, got opcode {op:#04x}"
                ));
            }
        };
        self.push(node);
        Ok(())
    }

    fn long(&mut self) -> Result<i64> {
        let [len] = self.bytes()?;
        let bytes = self.slice(len.into())?;
        let Some(last) = bytes.last() else {
            return Ok(0);
        };
        if bytes.len() > 8 {
            return Err(format!("an integer of 8 bytes is required, got {len}"));
        }
        let mut wide = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(wide))
    }

    fn global(&mut self) -> Result<()> {
        let (module, name) = (self.line()?, self.line()?);
        let name = format!("{module}.{name}");
        match GLOBALS.iter().find(|(known, _)| *known == name) {
            Some((_, global)) => {
                self.push(Node::Global(*global));
                Ok(())
            }
            None => Err(format!(
                "a plain state dict is required, which names only {}, got {name}",
                GLOBALS.map(|(known, _)| known).join(", ")
            )),
        }
    }

    fn reduce(&mut self) -> Result<()> {
        let (args, callable) = (self.pop()?, self.pop()?);
        let Node::Global(global) = self.nodes[callable] else {
            return Err("a call of a named function is required, got another value".into());
        };
        let args = self.items(args)?;
        match (global, args) {
            (Global::OrderedDict, []) => self.push(Node::Dict(vec![])),
            (Global::Tensor, [storage, offset, dims, strides, _, _, ..]) => {
                let tensor = TensorNode {
                    storage: *storage,
                    offset: self.size(*offset)?,
                    dims: self.sizes(*dims)?,
                    strides: self.sizes(*strides)?,
                };
                self.push(Node::Tensor(tensor));
            }
            (Global::Parameter, [tensor, _, _]) => self.stack.push(*tensor),
            (global, args) => {
                return Err(format!(
                    "the arguments of a state dict are required, got {} for {global:?}",
                    args.len()
                ));
            }
        }
        Ok(())
    }

    /// A reference to a storage: `('storage', type, key, location, length)`.
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let storage = match self.items(id)? {
            [tag, kind, key, _, len] if self.text(*tag) == Ok("storage") => {
                match self.nodes[*kind] {
                    Node::Global(Global::Storage(of)) => Some((of, *key, *len)),
                    _ => None,
                }
            }
            _ => None,
        };
        let (kind, key, len) = storage.ok_or("a reference to a storage is required")?;
        let len = self.size(len)?;
        self.push(Node::Storage { kind, key, len });
        Ok(())
    }

    /// Attributes of a dictionary, where torch keeps versions of modules: read past.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        match self.stack.last().map(|top| &self.nodes[*top]) {
            Some(Node::Dict(_)) => Ok(()),
            _ => Err("attributes of a dictionary only are required, got another value's".into()),
        }
    }

    fn set_items(&mut self, height: usize) -> Result<()> {
        let items = self.stack.split_off(height);
        let dict = *self.stack.last().ok_or_else(ended)?;
        let Node::Dict(entries) = &mut self.nodes[dict] else {
            return Err("a dictionary is required, got items of another value".into());
        };
        let pairs = items.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err("a value for every key is required".into());
        }
        entries.extend(pairs.map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn tuple(&mut self, height: usize) {
        let items = self.stack.split_off(height);
        self.push(Node::Tuple(items));
    }

    fn remember(&mut self, slot: u32) -> Result<()> {
        let top = *self.stack.last().ok_or_else(ended)?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<()> {
        let id = *self.memo.get(&slot).ok_or_else(ended)?;
        self.stack.push(id);
        Ok(())
    }

    fn stored(&self, id: Id) -> Result<StoredTensor> {
        let Node::Tensor(tensor) = &self.nodes[id] else {
            return Err("a tensor is required, got another value".into());
        };
        let Node::Storage { kind, key, len } = self.nodes[tensor.storage] else {
            return Err("a tensor's storage is required, got another value".into());
        };
        Ok(StoredTensor {
            kind,
            storage: self.take_text(key)?,
            storage_len: len,
            offset: tensor.offset,
            dims: tensor.dims.clone(),
            strides: tensor.strides.clone(),
        })
    }

    fn word(&self, id: Id) -> Result<Option<Pickled>> {
        Ok(match &self.nodes[id] {
            Node::Text(_) => Some(Pickled::Text(self.take_text(id)?)),
            Node::Int(n) => Some(Pickled::Int(*n)),
            _ => None,
        })
    }

    /// A text of its own.
    fn take_text(&self, id: Id) -> Result<String> {
        let text = self.text(id)?;
        self.count(text.len().saturating_add(ENTRY))?;
        Ok(text.to_string())
    }

    fn count(&self, bytes: usize) -> Result<()> {
        let taken = self.taken.get().saturating_add(bytes);
        self.taken.set(taken);
        match taken <= MOST_TAKEN {
            true => Ok(()),
            false => Err(format!(
                "names and words of at most {MOST_TAKEN} bytes are required, got more"
            )),
        }
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<Id> {
        self.stack.pop().ok_or_else(ended)
    }

    /// Height of the stack at the last mark, which is taken off.
    fn mark(&mut self) -> Result<usize> {
        let height = self.marks.pop().filter(|h| *h <= self.stack.len());
        height.ok_or_else(ended)
    }

    fn items(&self, id: Id) -> Result<&[Id]> {
        match &self.nodes[id] {
            Node::Tuple(items) => Ok(items),
            _ => Err("a tuple is required, got another value".into()),
        }
    }

    fn text(&self, id: Id) -> Result<&str> {
        match &self.nodes[id] {
            Node::Text(text) => Ok(text),
            _ => Err("text is required, got another value".into()),
        }
    }

    fn size(&self, id: Id) -> Result<usize> {
        match &self.nodes[id] {
            Node::Int(n) => usize::try_from(*n).map_err(|_| format!("a size is required, got {n}")),
            _ => Err("a size is required, got another value".into()),
        }
    }

    fn sizes(&self, id: Id) -> Result<Vec<usize>> {
        let items = self.items(id)?;
        if items.len() > MAX_RANK {
            return Err(format!(
                "a tensor of at most {MAX_RANK} dimensions is required, got {}",
                items.len()
            ));
        }
        items.iter().map(|id| self.size(*id)).collect()
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8]> {
        let (slice, rest) = self.rest.split_at_checked(len).ok_or_else(ended)?;
        self.rest = rest;
        Ok(slice)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(ended)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self.rest.iter().position(|b| *b == b'\n');
        let line = self.slice(end.ok_or_else(ended)?)?;
        self.bytes::<1>()?;
        std::str::from_utf8(line).map_err(|e| e.to_string())
    }
}

fn ended() -> String {
    "a whole pickle is required, got a damaged one".into()
}
