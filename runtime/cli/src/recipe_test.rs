//! `quorate recipe test`: a recipe's native tests, then its scenarios as the servers would run them.
//!
//! Comes in: a recipe's crate. Goes out: what each operation cost, or what differs. Invariant: a
//! scenario passes only if the recipe's own code (in `cargo test`) and its component leave the trace in
//! the file, line by line. Must never: rewrite a trace.

use crate::output::{Output, listed, table};
use crate::recipe::build_component;
use anyhow::{Context, Result, bail};
use quorate_recipe_test::Report;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) fn run(folder: &Path, output: Output) -> Result<()> {
    test_natively(folder, output)?;
    let scenarios = folder.join("scenarios");
    if !scenarios.is_dir() {
        let text = format!(
            "the native tests passed; there are no scenarios to run as a component: write {}",
            scenarios.join("NAME.txt").display()
        );
        output.print(&text, &json!({ "native": "passed", "scenarios": [], "operations": {} }));
        return Ok(());
    }
    let component = build_component(folder, Vec::new(), output)?;
    let report = quorate_recipe_test::run_scenarios(&component, &scenarios)?;
    let differences = report.differences();
    if !differences.is_empty() {
        bail!("as a component the recipe does otherwise than the scenarios say:\n{differences}");
    }
    output.print(&in_words(&report), &in_json(&report));
    Ok(())
}

/// What cargo says is not mixed with what a program reads.
fn test_natively(folder: &Path, output: Output) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.arg("test").current_dir(folder);
    if output.is_json() {
        cargo.stdout(Stdio::from(std::io::stderr()));
    }
    if !cargo.status().context("cannot run cargo")?.success() {
        bail!("the recipe's tests failed: see the messages above");
    }
    Ok(())
}

fn in_words(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .figures
        .iter()
        .map(|(name, figures)| {
            let numbers = [figures.runs, figures.least_fuel, figures.most_fuel];
            let numbers = numbers.iter().map(ToString::to_string);
            std::iter::once(name.clone()).chain(numbers).collect()
        })
        .collect();
    let mut text = table(&["operation", "runs", "least fuel", "most fuel"], &rows);
    if !report.uncalled.is_empty() {
        text.push_str(&format!(
            "\n\nno scenario calls {}",
            listed(report.uncalled.iter().cloned())
        ));
    }
    let names = listed(report.scenarios.iter().map(|scenario| scenario.name.clone()));
    let Report { recipe, version, .. } = report;
    format!("{text}\n\n{recipe} {version} does natively and as a component what these say: {names}")
}

fn in_json(report: &Report) -> Value {
    let operations = report.figures.iter().map(|(name, figures)| {
        let value = json!({
            "runs": figures.runs,
            "least_fuel": figures.least_fuel,
            "most_fuel": figures.most_fuel,
        });
        (name.clone(), value)
    });
    json!({
        "native": "passed",
        "recipe": report.recipe,
        "version": report.version,
        "scenarios": report.scenarios.iter().map(|scenario| &scenario.name).collect::<Vec<_>>(),
        "operations": operations.collect::<serde_json::Map<_, _>>(),
        "uncalled": report.uncalled,
    })
}
