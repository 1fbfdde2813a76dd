//! From a component's bytes to something that can be called, with every check on the way.
//!
//! Comes in: bytes from an installer, trusted in nothing. Goes out: a compiled recipe with its
//! checked descriptor, or an error that names the cure.
//! Invariant: whatever this accepts instantiates, has all functions of the contract with the right
//! types, and described itself within fuel. May take seconds: never call it from the replica's task.

use crate::cache::ComponentCache;
use crate::compile_cost;
use crate::contract::guest;
use crate::descriptor;
use crate::engine;
use crate::error::{CacheError, RecipeError};
use crate::host_functions;
use crate::run_state::Run;
use quorate_types::ComponentDigest;
use quorate_types::limits::Limits;
use quorate_types::recipe::{RecipeDescriptor, RecipeLimits};
use sha2::{Digest, Sha256};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Linker,
    Lower, TypedFunc,
};
use wasmtime::{Engine, Store};

/// Fuel of instantiation, which runs a component's start functions. How much they need depends on
/// the system (wasmtime issue 14331), hence a budget apart from that of the call. Filling memory from
/// the largest component takes 4.2 million.
pub(crate) const INSTANTIATION_FUEL: u64 = 5_000_000;

/// What every interface of the contract begins with.
const CONTRACT: &str = "quorate:recipe/";

/// Limits of the trial run.
const TRIAL_LIMITS: RecipeLimits = RecipeLimits {
    fuel: Limits::PRODUCTION.recipe_fuel_max,
    memory_bytes: Limits::PRODUCTION.recipe_memory_bytes_max,
    changes: 0,
    written_bytes: 0,
    read_bytes: 0,
    reply_bytes: Limits::PRODUCTION.recipe_reply_bytes_max,
    log_bytes: Limits::PRODUCTION.recipe_log_bytes_max,
    tickets: 0,
};

/// A component that was accepted. Cheap to clone.
#[derive(Clone)]
pub struct CompiledRecipe(Arc<Compiled>);

struct Compiled {
    digest: ComponentDigest,
    descriptor: RecipeDescriptor,
    pre: InstancePre<Run>,
    functions: GuestFunctions,
    figures: Figures,
}

/// Where the exported functions are within the component.
pub(crate) struct GuestFunctions {
    pub(crate) describe: ComponentExportIndex,
    pub(crate) invoke: ComponentExportIndex,
    pub(crate) on_event: ComponentExportIndex,
    pub(crate) migrate: ComponentExportIndex,
}

/// What was measured while a component was accepted.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    compile_time: Duration,
    from_cache: bool,
    describe_fuel: u64,
    fuel_wanted: Option<u64>,
}

impl CompiledRecipe {
    /// The sha-256 of the component.
    #[must_use]
    pub fn digest(&self) -> ComponentDigest {
        self.0.digest
    }

    /// What it says of itself, checked.
    #[must_use]
    pub fn descriptor(&self) -> &RecipeDescriptor {
        &self.0.descriptor
    }

    /// Fuel one run may need by its author's words, if they said.
    #[must_use]
    pub fn fuel_wanted(&self) -> Option<u64> {
        self.0.figures.fuel_wanted
    }

    /// Fuel that `describe` took.
    #[must_use]
    pub fn describe_fuel(&self) -> u64 {
        self.0.figures.describe_fuel
    }

    /// How long validation and compilation took, or loading from the cache.
    #[must_use]
    pub fn compile_time(&self) -> Duration {
        self.0.figures.compile_time
    }

    /// Whether the compiled code came from the cache.
    #[must_use]
    pub fn from_cache(&self) -> bool {
        self.0.figures.from_cache
    }

    pub(crate) fn component(&self) -> &Component {
        self.0.pre.component()
    }

    pub(crate) fn functions(&self) -> &GuestFunctions {
        &self.0.functions
    }

    /// A fresh instance in a store of its own; the fuel of the run is set and no host function can
    /// be called before [`Run::view`] is lent.
    pub(crate) fn instantiate(
        &self,
        limits: &RecipeLimits,
    ) -> (Store<Run>, Result<Instance, wasmtime::Error>) {
        instantiate(&self.0.pre, limits)
    }
}

impl std::fmt::Debug for CompiledRecipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let descriptor = &self.0.descriptor;
        write!(f, "{}@{} ({})", descriptor.name, descriptor.version, self.0.digest)
    }
}

/// Compiles components; shared by the threads that do.
pub struct Compiler {
    engine: Engine,
    linker: Linker<Run>,
    cache: Option<ComponentCache>,
    component_bytes_max: usize,
}

impl Compiler {
    /// A compiler that keeps nothing on disk.
    ///
    /// # Errors
    /// [`RecipeError::Engine`].
    pub fn new() -> Result<Compiler, RecipeError> {
        let engine = engine::engine()?;
        let linker = host_functions::linker(&engine)
            .map_err(|error| RecipeError::Engine(format!("{error:#}")))?;
        Ok(Compiler {
            engine,
            linker,
            cache: None,
            component_bytes_max: Limits::PRODUCTION.component_bytes_max as usize,
        })
    }

    /// Keeps compiled code in this folder, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be used or others could write into it.
    pub fn with_cache(mut self, folder: &Path) -> Result<Compiler, CacheError> {
        self.cache = Some(ComponentCache::open(folder, &self.engine)?);
        Ok(self)
    }

    /// Checks and compiles the bytes, which must have this digest.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn compile(
        &self,
        expected: &ComponentDigest,
        bytes: &[u8],
    ) -> Result<CompiledRecipe, RecipeError> {
        let found = component_digest(bytes);
        if found != *expected {
            return Err(RecipeError::Digest { expected: *expected, found });
        }
        self.check_form(bytes)?;
        let cost = compile_cost::check(bytes)?;
        tracing::debug!(?cost, component = %expected, "counted");
        let started = Instant::now();
        let kept = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, expected));
        let from_cache = kept.is_some();
        let component = match kept {
            Some(component) => component,
            None => self.compile_bytes(bytes)?,
        };
        let compile_time = started.elapsed();
        let figures = Figures { compile_time, from_cache, ..Figures::default() };
        let compiled = self.accept(*expected, component, figures)?;
        if !from_cache {
            self.keep(&compiled);
        }
        Ok(compiled)
    }

    /// Forgets the compiled code of a component that was removed.
    pub fn forget(&self, digest: &ComponentDigest) {
        if let Some(cache) = &self.cache {
            cache.remove(digest);
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What the first eight bytes and the size tell, before anything is parsed.
    fn check_form(&self, bytes: &[u8]) -> Result<(), RecipeError> {
        if bytes.len() > self.component_bytes_max {
            return Err(RecipeError::TooLarge {
                bytes: bytes.len(),
                limit: self.component_bytes_max,
            });
        }
        match bytes.get(..8) {
            Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Err(RecipeError::CoreModule),
            Some([0, b'a', b's', b'm', ..]) => Ok(()),
            _ => Err(RecipeError::NotWasm),
        }
    }

    fn compile_bytes(&self, bytes: &[u8]) -> Result<Component, RecipeError> {
        // A fault of the compiler must cost this component, not the process.
        catch_unwind(AssertUnwindSafe(|| Component::from_binary(&self.engine, bytes)))
            .map_err(|_| {
                RecipeError::CompilerFault(String::from("it panicked; see standard error"))
            })?
            .map_err(|error| RecipeError::Malformed(format!("{error:#}")))
    }

    /// Everything that is checked on compiled code, wherever it came from.
    fn accept(
        &self,
        digest: ComponentDigest,
        component: Component,
        mut figures: Figures,
    ) -> Result<CompiledRecipe, RecipeError> {
        check_imports(&self.engine, &component)?;
        let functions = guest_functions(&self.engine, &component)?;
        let pre = self
            .linker
            .instantiate_pre(&component)
            .map_err(|error| RecipeError::ImportMismatch(format!("{error:#}")))?;
        component
            .initialize_copy_on_write_image()
            .map_err(|error| RecipeError::Engine(format!("{error:#}")))?;
        let (answer, describe_fuel) = trial(&pre, &functions)?;
        figures.describe_fuel = describe_fuel;
        figures.fuel_wanted = answer.fuel_wanted;
        let descriptor = descriptor::check(answer).map_err(RecipeError::Descriptor)?;
        let compiled = Compiled { digest, descriptor, pre, functions, figures };
        Ok(CompiledRecipe(Arc::new(compiled)))
    }

    /// A cache that cannot be written slows the next start, no more.
    fn keep(&self, compiled: &CompiledRecipe) {
        let Some(cache) = &self.cache else { return };
        match compiled.component().serialize() {
            Ok(code) => {
                if let Err(error) = cache.store(&compiled.digest(), &code) {
                    tracing::warn!(%error, "cannot keep a compiled component");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot serialize a compiled component"),
        }
    }
}

/// The sha-256 of a component's bytes: its name in the catalogue.
#[must_use]
pub fn component_digest(bytes: &[u8]) -> ComponentDigest {
    ComponentDigest(Sha256::digest(bytes).into())
}

fn check_imports(engine: &Engine, component: &Component) -> Result<(), RecipeError> {
    for (import, _) in component.component_type().imports(engine) {
        let within = import
            .strip_prefix(CONTRACT)
            .and_then(|interface| interface.split_once('@'))
            .is_some_and(|(_, version)| version.starts_with("1."));
        if !within {
            return Err(RecipeError::ForeignImport {
                import: descriptor::quoted(import).trim_matches('"').to_owned(),
                cure: cure(import),
            });
        }
    }
    Ok(())
}

fn cure(import: &str) -> &'static str {
    if import.starts_with("wasi:") {
        "build for wasm32-unknown-unknown"
    } else if import.starts_with(CONTRACT) {
        "this server speaks version 1 of the contract; build with the quorate-recipe of this release"
    } else {
        "a recipe may import quorate:recipe interfaces of version 1 and nothing else"
    }
}

fn guest_functions(engine: &Engine, component: &Component) -> Result<GuestFunctions, RecipeError> {
    let missing = |name: &str| RecipeError::MissingExport(name.to_owned());
    let interface = component
        .component_type()
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .find(|name| name.starts_with("quorate:recipe/guest@1."))
        .and_then(|name| component.get_export_index(None, &name))
        .ok_or_else(|| missing("quorate:recipe/guest@1.0.0"))?;
    let function = |name: &'static str| {
        component.get_export_index(Some(&interface), name).ok_or_else(|| missing(name))
    };
    Ok(GuestFunctions {
        describe: function("describe")?,
        invoke: function("invoke")?,
        on_event: function("on-event")?,
        migrate: function("migrate")?,
    })
}

pub(crate) fn instantiate(
    pre: &InstancePre<Run>,
    limits: &RecipeLimits,
) -> (Store<Run>, Result<Instance, wasmtime::Error>) {
    let mut store = Store::new(pre.engine(), Run::new(limits));
    store.limiter(|run| &mut run.memory);
    store.set_hostcall_fuel(engine::MEMORY_BYTES_MAX * 2);
    let instance = store
        .set_fuel(INSTANTIATION_FUEL)
        .and_then(|()| pre.instantiate(&mut store))
        .and_then(|instance| store.set_fuel(limits.fuel).map(|()| instance));
    (store, instance)
}

/// Instantiates once, looks at the type of every function of the contract, and asks for the
/// descriptor. Linking alone does not see the type of an export.
fn trial(
    pre: &InstancePre<Run>,
    functions: &GuestFunctions,
) -> Result<(guest::Descriptor, u64), RecipeError> {
    let (mut store, instance) = instantiate(pre, &TRIAL_LIMITS);
    let failed = |store: &Store<Run>, error: wasmtime::Error| {
        RecipeError::TrialRun(store.data().fault(&error).message)
    };
    let instance = instance.map_err(|error| failed(&store, error))?;
    let describe =
        typed::<(), (guest::Descriptor,)>(&mut store, instance, ("describe", &functions.describe))?;
    typed::<(guest::Call<'_>,), (Result<guest::Outcome, guest::Failure>,)>(
        &mut store,
        instance,
        ("invoke", &functions.invoke),
    )?;
    typed::<(&str, guest::Event<'_>), (Result<(), guest::Failure>,)>(
        &mut store,
        instance,
        ("on-event", &functions.on_event),
    )?;
    typed::<(u32,), (Result<(), guest::Failure>,)>(
        &mut store,
        instance,
        ("migrate", &functions.migrate),
    )?;
    let (answer,) = describe.call(&mut store, ()).map_err(|error| failed(&store, error))?;
    let fuel_left = store.get_fuel().unwrap_or(0);
    Ok((answer, TRIAL_LIMITS.fuel.saturating_sub(fuel_left)))
}

fn typed<Parameters, Results>(
    store: &mut Store<Run>,
    instance: Instance,
    (function, index): (&'static str, &ComponentExportIndex),
) -> Result<TypedFunc<Parameters, Results>, RecipeError>
where
    Parameters: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    instance
        .get_typed_func(store, index)
        .map_err(|error| RecipeError::ExportMismatch { function, detail: format!("{error:#}") })
}
