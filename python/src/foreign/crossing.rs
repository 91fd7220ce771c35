//! The way of a table to a session of another library.

use std::ffi::CStr;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion_ffi::proto::logical_extension_codec::FFI_LogicalExtensionCodec;
use datafusion_ffi::table_provider::{FFI_TableProvider, ForeignTableProvider};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::runtime::runtime;

const CODEC: &CStr = c"datafusion_logical_extension_codec";

/// What a table needs to cross to a session.
#[derive(Debug, Clone)]
pub struct Crossing {
    codec: FFI_LogicalExtensionCodec,
    handle: Handle,
}

impl Crossing {
    /// The session, or its codec.
    pub fn to(session: &Bound<'_, PyAny>) -> PyResult<Self> {
        let getter = "__datafusion_logical_extension_codec__";
        let codec = match session.hasattr(getter)? {
            true => session.call_method0(getter)?,
            false => session.clone(),
        };
        let codec = codec.cast::<PyCapsule>()?.pointer_checked(Some(CODEC))?;
        // SAFETY: the name says what it points to, and the capsule lives.
        let codec = unsafe { codec.cast::<FFI_LogicalExtensionCodec>().as_ref() };
        // SAFETY: it is what the struct has for everyone to call first.
        let (came, required) = (unsafe { (codec.version)() }, datafusion_ffi::version());
        if came != required {
            return Err(Error::new_err(format!(
                "a session of DataFusion {required} is required, got one of DataFusion {came}"
            )));
        }
        Ok(Self {
            codec: codec.clone(),
            handle: runtime()?.handle().clone(),
        })
    }

    /// The table as it crosses.
    pub fn table(&self, table: Arc<dyn TableProvider>) -> FFI_TableProvider {
        let (codec, handle) = (self.codec.clone(), self.handle.clone());
        FFI_TableProvider::new_with_ffi_codec(table, true, Some(handle), codec)
    }

    /// The table as a function gives it: one that is foreign already crosses as it is, so with its filters.
    pub fn given(&self, table: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
        Arc::new(ForeignTableProvider(self.table(table)))
    }

    /// The session's codec.
    pub fn codec(&self) -> &FFI_LogicalExtensionCodec {
        &self.codec
    }

    /// The threads that compute.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}
