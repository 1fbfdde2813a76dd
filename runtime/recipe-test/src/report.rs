//! All scenarios of a recipe, one after the other, and what came of them.

use crate::one_server::{COMPILER, RunFigures};
use crate::wasm_stage::WasmStage;
use quorate_recipe_host::RecipeError;
use quorate_recipe_scenario::{ScenarioError, check_file, scenarios_in};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// What the runs of one operation, or of the handler of one event, cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// How often it ran.
    pub runs: u64,
    /// Fuel of its cheapest run.
    pub least_fuel: u64,
    /// Fuel of its dearest run.
    pub most_fuel: u64,
}

/// One scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioOutcome {
    /// The file's name.
    pub name: String,
    /// Where the trace differs from the file's, or what broke; `None`: nothing.
    pub difference: Option<String>,
}

/// All scenarios of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The recipe's name.
    pub recipe: String,
    /// Its version.
    pub version: String,
    /// Each scenario, in order of name.
    pub scenarios: Vec<ScenarioOutcome>,
    /// By operation; event handlers in brackets.
    pub figures: BTreeMap<String, Figures>,
    /// Operations that no scenario calls.
    pub uncalled: Vec<String>,
}

impl Report {
    /// What differs, of all scenarios; empty when nothing does.
    #[must_use]
    pub fn differences(&self) -> String {
        let found = self.scenarios.iter().filter_map(|scenario| scenario.difference.as_ref());
        found.map(|difference| format!("{difference}\n")).collect()
    }
}

/// Why there is no report.
#[derive(Debug)]
pub enum ReportError {
    /// The component cannot be a recipe.
    Recipe(RecipeError),
    /// The scenarios cannot be read.
    Scenario(ScenarioError),
}

impl std::fmt::Display for ReportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReportError::Recipe(error) => write!(f, "the component cannot be a recipe: {error}"),
            ReportError::Scenario(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReportError {}

/// Runs every scenario of a folder, each on a server of its own.
///
/// # Errors
/// The component cannot be a recipe, or the folder cannot be read. Traces that differ are no error but
/// part of the report.
pub fn run_scenarios(component: &[u8], folder: &Path) -> Result<Report, ReportError> {
    let described = COMPILER.inspect(component).map_err(ReportError::Recipe)?.descriptor;
    let mut compiled = BTreeMap::new();
    let mut figures: BTreeMap<String, Figures> = BTreeMap::new();
    let mut scenarios = Vec::new();
    for path in scenarios_in(folder).map_err(ReportError::Scenario)? {
        let mut stage = WasmStage::new(component, std::mem::take(&mut compiled));
        // A recipe whose second run differs ends the scenario with a panic.
        let checked = catch_unwind(AssertUnwindSafe(|| check_file(&path, &mut stage, false)));
        let difference = match checked {
            Ok(checked) => checked.err().map(|error| error.to_string()),
            Err(panic) => Some(format!("{} {}", path.display(), words_of(&*panic))),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        scenarios.push(ScenarioOutcome { name, difference });
        stage.server.runs.iter().for_each(|run| count(&mut figures, run));
        compiled = stage.server.compiled;
    }
    let names = described.operations.iter().map(|operation| operation.name.clone());
    let uncalled = names.filter(|name| !figures.contains_key(name)).collect();
    let (recipe, version) = (described.name, described.version);
    Ok(Report { recipe, version, scenarios, figures, uncalled })
}

fn count(figures: &mut BTreeMap<String, Figures>, run: &RunFigures) {
    let first = Figures { runs: 0, least_fuel: u64::MAX, most_fuel: 0 };
    let of_this = figures.entry(run.name.clone()).or_insert(first);
    of_this.runs += 1;
    of_this.least_fuel = of_this.least_fuel.min(run.fuel);
    of_this.most_fuel = of_this.most_fuel.max(run.fuel);
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| String::from("broke off"))
}
