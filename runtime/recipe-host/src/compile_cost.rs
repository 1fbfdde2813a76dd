//! Bounds what compiling a component may cost, by counting before the compiler sees it.
//!
//! Comes in: bytes of a component. Goes out: nothing, or which bound it passes.
//! The time and memory of an optimising compiler grow with (values that live at once) x (branches)
//! in a function: 47 KB of code that was made for it took 5.6 s and 340 MB. Every server compiles
//! every component, so such a one would take down the cluster.
//! Invariant: one pass over the bytes, no allocation that grows with them.

use crate::error::RecipeError;
use wasmparser::{CompositeInnerType, Operator, Parser, Payload};

/// Functions of all modules; 20 000 small ones take 5 s. The standard lock has 215.
const FUNCTIONS_MAX: u64 = 20_000;

/// Locals times branches of one function. A million takes 0.8 s and 80 MB, four million 5.6 s and
/// 340 MB. The largest function of the standard lock has 8 060; interpreters have far larger ones.
const FUNCTION_COST_MAX: u64 = 2_000_000;

/// The same over all functions. The standard lock has 68 133.
const TOTAL_COST_MAX: u64 = 10_000_000;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompileCost {
    pub(crate) functions: u64,
    pub(crate) largest: u64,
    pub(crate) total: u64,
}

/// Counts, and compares with the bounds.
///
/// # Errors
/// [`RecipeError::TooCostly`], or [`RecipeError::Malformed`] where counting cannot go on.
pub(crate) fn check(bytes: &[u8]) -> Result<CompileCost, RecipeError> {
    let malformed = |error| RecipeError::Malformed(format!("{error}"));
    let mut cost = CompileCost::default();
    // Parameters and results of the widest function type so far: they are values like locals.
    let mut widest_type = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::TypeSection(types) => {
                for group in types {
                    for subtype in group.map_err(malformed)?.types() {
                        if let CompositeInnerType::Func(function) = &subtype.composite_type.inner {
                            let width = function.params().len() + function.results().len();
                            widest_type = widest_type.max(width as u64);
                        }
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let of_function = function_cost(&body, widest_type).map_err(malformed)?;
                cost.functions += 1;
                cost.largest = cost.largest.max(of_function);
                cost.total = cost.total.saturating_add(of_function);
                within_bounds(&cost)?;
            }
            _ => {}
        }
    }
    Ok(cost)
}

fn within_bounds(cost: &CompileCost) -> Result<(), RecipeError> {
    let bounds = [
        ("functions", cost.functions, FUNCTIONS_MAX),
        ("locals times branches in one function", cost.largest, FUNCTION_COST_MAX),
        ("locals times branches", cost.total, TOTAL_COST_MAX),
    ];
    for (what, counted, bound) in bounds {
        if counted > bound {
            return Err(RecipeError::TooCostly { what, bound });
        }
    }
    Ok(())
}

fn function_cost(body: &wasmparser::FunctionBody<'_>, widest_type: u64) -> wasmparser::Result<u64> {
    let mut values = widest_type;
    for locals in body.get_locals_reader()? {
        values += u64::from(locals?.0);
    }
    let mut branches: u64 = 0;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        branches += match operators.read()? {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::Br { .. }
            | Operator::BrIf { .. } => 1,
            Operator::BrTable { targets } => u64::from(targets.len()) + 1,
            _ => 0,
        };
    }
    Ok(values.saturating_mul(branches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locals_parameters_and_every_branch_are_counted() {
        let module = wat::parse_str(
            "(module
                (func (param i32 i32) (result i32) (local i64 i64 i64)
                    (block (loop (br_if 1 (local.get 0)) (br 0)))
                    (block (br_table 0 0 0 (local.get 1)))
                    local.get 0)
                (func))",
        )
        .expect("text");
        let cost = check(&module).expect("it is cheap");
        // Six values; block, loop, br_if, br, block, and br_table with two targets and its default.
        let expected = CompileCost { functions: 2, largest: 6 * 8, total: 6 * 8 };
        assert_eq!(cost, expected);
    }
}
