//! What a component may be made of, seen from its sections alone, before any other code reads it.
//!
//! Comes in: one section after the other. Goes out: nothing, or what is too much.
//! A component can hold components and make instances of them: each holding two instances of the one
//! before, forty of them are 2 KB and 2^40 instances. Types can be nested deeper than a parser's
//! stack. Both end the process that reads them, and every server reads every component.
//! Invariant: no recursion deeper than [`TYPE_DEPTH_MAX`], no memory that grows with the bytes.

use crate::compile_cost::malformed;
use crate::error::RecipeError;
use wasmparser::{
    BinaryReader, ComponentInstance, ComponentInstanceSectionReader, ComponentType,
    ComponentTypeDeclaration, Payload,
};

/// Types of components and instances within one another. The standard recipes have one.
const TYPE_DEPTH_MAX: u32 = 16;

/// Components within a component, and instances of them: one for each exported interface.
const INNER_COMPONENTS_MAX: u64 = 16;

/// Where in the component the sections are, and what was there before.
#[derive(Debug, Default)]
pub(crate) struct Form {
    /// Components and modules that were begun and not ended.
    open: u32,
    inner_components: u64,
    inner_instances: u64,
}

impl Form {
    /// Takes the next section of `bytes` in.
    ///
    /// # Errors
    /// [`RecipeError::Composed`], [`RecipeError::TooCostly`] or [`RecipeError::Malformed`].
    pub(crate) fn check(&mut self, bytes: &[u8], payload: &Payload<'_>) -> Result<(), RecipeError> {
        let inner = self.open > 1;
        match payload {
            Payload::Version { .. } => self.open += 1,
            Payload::End(_) => self.open = self.open.saturating_sub(1),
            Payload::ModuleSection { .. } | Payload::InstanceSection(_) if inner => {
                return Err(composed("a component within it has code of its own"));
            }
            Payload::ComponentSection { .. } if inner => {
                return Err(composed("a component within it has components of its own"));
            }
            Payload::ComponentCanonicalSection(_) if inner => {
                return Err(composed("a component within it has functions of its own"));
            }
            Payload::ComponentInstanceSection(instances) => {
                self.inner_instances += instantiations(instances)?;
                if inner && self.inner_instances > 0 {
                    return Err(composed("a component within it makes instances of others"));
                }
            }
            Payload::ComponentSection { .. } => self.inner_components += 1,
            Payload::ComponentTypeSection(types) => {
                let section = bytes.get(types.range()).unwrap_or_default();
                let mut reader = BinaryReader::new(section, types.range().start);
                for _ in 0..reader.read_var_u32().map_err(malformed)? {
                    check_type(&mut reader, 0)?;
                }
            }
            _ => {}
        }
        let most = self.inner_components.max(self.inner_instances);
        within("components within one another", most, INNER_COMPONENTS_MAX)
    }
}

fn composed(what: &'static str) -> RecipeError {
    RecipeError::Composed { what }
}

fn within(what: &'static str, counted: u64, bound: u64) -> Result<(), RecipeError> {
    if counted > bound { Err(RecipeError::TooCostly { what, bound }) } else { Ok(()) }
}

fn instantiations(instances: &ComponentInstanceSectionReader<'_>) -> Result<u64, RecipeError> {
    let mut count = 0;
    for instance in instances.clone() {
        if matches!(instance.map_err(malformed)?, ComponentInstance::Instantiate { .. }) {
            count += 1;
        }
    }
    Ok(count)
}

/// Passes over one type, which may hold others.
fn check_type(reader: &mut BinaryReader<'_>, depth: u32) -> Result<(), RecipeError> {
    const COMPONENT_TYPE: u8 = 0x41;
    const INSTANCE_TYPE: u8 = 0x42;
    const TYPE_DECLARATION: u8 = 0x01;
    within("types within one another", u64::from(depth), u64::from(TYPE_DEPTH_MAX))?;
    if !matches!(next_byte(reader)?, COMPONENT_TYPE | INSTANCE_TYPE) {
        return reader.read::<ComponentType<'_>>().map(drop).map_err(malformed);
    }
    reader.read_u8().map_err(malformed)?;
    for _ in 0..reader.read_var_u32().map_err(malformed)? {
        if next_byte(reader)? == TYPE_DECLARATION {
            reader.read_u8().map_err(malformed)?;
            check_type(reader, depth + 1)?;
        } else {
            reader.read::<ComponentTypeDeclaration<'_>>().map_err(malformed)?;
        }
    }
    Ok(())
}

fn next_byte(reader: &BinaryReader<'_>) -> Result<u8, RecipeError> {
    reader.clone().read_u8().map_err(malformed)
}
