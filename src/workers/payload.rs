//! The bytes of one of our nodes: a mark and a version, then what it is made from.

use datafusion::common::{exec_err, plan_datafusion_err};
use datafusion::error::Result;
use datafusion_proto::protobuf::PhysicalExprNode;
use prost::Message;

/// Begins every node that is ours.
const MARK: &[u8; 4] = b"PSMA";

/// The version of plans as bytes; another one is refused. It changes with every change of what is written.
pub(super) const VERSION: u8 = 1;

/// Most bytes of a plan, which a worker holds before it knows what it is: a thousand times what plans have. Chosen.
pub(super) const MOST_PLAN: usize = 16 << 20;

/// A node without its inputs.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SentNode {
    /// Which it is.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// What it is made from, as JSON.
    #[prost(string, tag = "2")]
    pub recipe: String,
    /// Its expressions.
    #[prost(message, repeated, tag = "3")]
    pub expressions: Vec<PhysicalExprNode>,
}

impl SentNode {
    pub fn write(&self, bytes: &mut Vec<u8>) -> Result<()> {
        bytes.extend_from_slice(MARK);
        bytes.push(VERSION);
        let unwritten = |e| plan_datafusion_err!("a plan as bytes: {e}");
        self.encode(bytes).map_err(unwritten)
    }

    /// Errors: no node of ours; one of another version, and both are named.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let Some((version, node)) = bytes.strip_prefix(MARK).and_then(|rest| rest.split_first())
        else {
            return exec_err!("a plan of polysema is required, got other bytes");
        };
        if *version != VERSION {
            return exec_err!(
                "a plan of version {VERSION} is required, got one of version {version}: who asks and the worker must be the \
                 same release"
            );
        }
        let unread = |e| plan_datafusion_err!("a plan of version {VERSION} is required, got {e}");
        SentNode::decode(node).map_err(unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_refused_and_both_are_named() {
        let node = SentNode {
            kind: "scan".to_string(),
            recipe: "{}".to_string(),
            expressions: vec![],
        };
        let mut bytes = vec![];
        node.write(&mut bytes).expect("bytes");
        assert_eq!(SentNode::read(&bytes).expect("the node"), node);
        bytes[MARK.len()] = VERSION + 1;
        let refused = SentNode::read(&bytes)
            .expect_err("another version")
            .to_string();
        for version in [VERSION, VERSION + 1] {
            assert!(refused.contains(&format!("version {version}")), "{refused}");
        }
        for other in [&b""[..], b"PSM", b"PSMA", &bytes[1..]] {
            assert!(SentNode::read(other).is_err());
        }
        bytes[MARK.len()] = VERSION;
        bytes.truncate(bytes.len() - 1);
        assert!(SentNode::read(&bytes).is_err());
    }
}
