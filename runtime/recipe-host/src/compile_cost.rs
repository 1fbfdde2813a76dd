//! Bounds what compiling a component may cost, by counting before the compiler sees it.
//!
//! Comes in: bytes of a component. Goes out: nothing, or which bound it passes.
//! The time and memory of an optimising compiler grow with (values that live at once) x (branches)
//! in a function, and with the square of its branches: 47 KB of code that was made for it took 5.6 s
//! and 340 MB. Every server compiles every component, so such a one would take down the cluster.
//! Invariant: one pass over the bytes, no allocation that grows with them, no recursion.

use crate::component_form::Form;
use crate::error::RecipeError;
use wasmparser::{CompositeInnerType, ElementItems, Operator, Parser, Payload};

/// Functions of all modules; 20 000 small ones take 5 s. The standard lock has 215.
const FUNCTIONS_MAX: u64 = 20_000;

/// Values times branches of one function, see [`FunctionCost::product`]. A million takes 0.8 s and
/// 80 MB, four million 5.6 s and 340 MB. The largest function of the standard lock has about 10 000;
/// interpreters have far larger ones.
const FUNCTION_COST_MAX: u64 = 2_000_000;

/// The same over all functions. The standard lock has less than 100 000.
const TOTAL_COST_MAX: u64 = 10_000_000;

/// Weighed operators of one function: a unit takes about 2 µs and 4 KB.
const FUNCTION_WORK_MAX: u64 = 1_000_000;

/// Weighed operators, functions, types and table entries: at most about 20 s.
const TOTAL_WORK_MAX: u64 = 8_000_000;

/// Parameters and results of one function type. A thousand calls of one with a thousand take 10 s.
const TYPE_WIDTH_MAX: u64 = 100;

/// Work of a function besides its operators: 250 µs for an empty one.
const FUNCTION_WORK: u64 = 100;
/// Work of a function type, for the ways into and out of functions of that type.
const TYPE_WORK: u64 = 100;
/// Work of a parameter or result of a type.
const TYPE_VALUE_WORK: u64 = 5;
/// Work of an entry of a table.
const TABLE_ENTRY_WORK: u64 = 12;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompileCost {
    pub(crate) functions: u64,
    /// Parameters and results of the widest function type so far: they are values like locals.
    pub(crate) widest_type: u64,
    pub(crate) largest: u64,
    pub(crate) total: u64,
    pub(crate) largest_work: u64,
    pub(crate) total_work: u64,
}

/// Counts, and compares with the bounds.
///
/// # Errors
/// [`RecipeError::TooCostly`] or [`RecipeError::Composed`], or [`RecipeError::Malformed`] where
/// counting cannot go on.
pub(crate) fn check(bytes: &[u8]) -> Result<CompileCost, RecipeError> {
    let mut cost = CompileCost::default();
    let mut form = Form::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(malformed)?;
        form.check(bytes, &payload)?;
        cost.count(&payload).map_err(malformed)?;
        cost.check_bounds()?;
    }
    Ok(cost)
}

pub(crate) fn malformed(error: wasmparser::BinaryReaderError) -> RecipeError {
    RecipeError::Malformed(format!("{error}"))
}

impl CompileCost {
    fn count(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::TypeSection(types) => {
                for group in types.clone() {
                    for subtype in group?.types() {
                        if let CompositeInnerType::Func(function) = &subtype.composite_type.inner {
                            let width = (function.params().len() + function.results().len()) as u64;
                            self.widest_type = self.widest_type.max(width);
                            self.add_work(TYPE_WORK + TYPE_VALUE_WORK * width);
                        }
                    }
                }
            }
            Payload::ElementSection(elements) => {
                for element in elements.clone() {
                    let entries = match element?.items {
                        ElementItems::Functions(functions) => functions.count(),
                        ElementItems::Expressions(_, expressions) => expressions.count(),
                    };
                    self.add_work(TABLE_ENTRY_WORK * u64::from(entries));
                }
            }
            Payload::CodeSectionEntry(body) => {
                let function = function_cost(body, self.widest_type)?;
                self.functions += 1;
                self.largest = self.largest.max(function.product());
                self.total = self.total.saturating_add(function.product());
                self.largest_work = self.largest_work.max(function.work);
                self.add_work(FUNCTION_WORK + function.work);
            }
            _ => {}
        }
        Ok(())
    }

    fn add_work(&mut self, work: u64) {
        self.total_work = self.total_work.saturating_add(work);
    }

    fn check_bounds(&self) -> Result<(), RecipeError> {
        let bounds = [
            ("functions", self.functions, FUNCTIONS_MAX),
            ("parameters and results of one function", self.widest_type, TYPE_WIDTH_MAX),
            ("locals times branches in one function", self.largest, FUNCTION_COST_MAX),
            ("locals times branches", self.total, TOTAL_COST_MAX),
            ("weighed operators in one function", self.largest_work, FUNCTION_WORK_MAX),
            ("weighed operators, types and table entries", self.total_work, TOTAL_WORK_MAX),
        ];
        for (what, counted, bound) in bounds {
            if counted > bound {
                return Err(RecipeError::TooCostly { what, bound });
            }
        }
        Ok(())
    }
}

/// What one function costs.
struct FunctionCost {
    values: u64,
    branches: u64,
    work: u64,
}

impl FunctionCost {
    /// Each branch costs what lives across it, and a 32nd for every other branch: 8 000 in a row
    /// take 2 s.
    fn product(&self) -> u64 {
        self.branches.saturating_mul(self.values.saturating_add(self.branches / 32))
    }
}

fn function_cost(
    body: &wasmparser::FunctionBody<'_>,
    widest_type: u64,
) -> wasmparser::Result<FunctionCost> {
    let mut cost = FunctionCost { values: widest_type, branches: 0, work: 0 };
    for locals in body.get_locals_reader()? {
        cost.values += u64::from(locals?.0);
    }
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let operator = operators.read()?;
        cost.branches += branches(&operator);
        cost.work += work(&operator, widest_type);
    }
    Ok(cost)
}

/// Branches that an operator is compiled to.
fn branches(operator: &Operator<'_>) -> u64 {
    match operator {
        Operator::Block { .. }
        | Operator::If { .. }
        | Operator::Else
        | Operator::Br { .. }
        | Operator::BrIf { .. } => 1,
        // The second asks for fuel.
        Operator::Loop { .. } => 2,
        Operator::BrTable { targets } => u64::from(targets.len()) + 1,
        Operator::CallIndirect { .. } => 2,
        Operator::TableGet { .. }
        | Operator::TableSet { .. }
        | Operator::TableFill { .. }
        | Operator::TableCopy { .. }
        | Operator::TableInit { .. } => 4,
        _ => 0,
    }
}

/// How long an operator takes to compile, in units of one that needs a register and no more.
fn work(operator: &Operator<'_>, widest_type: u64) -> u64 {
    match operator {
        Operator::LocalGet { .. }
        | Operator::LocalSet { .. }
        | Operator::LocalTee { .. }
        | Operator::I32Const { .. }
        | Operator::I64Const { .. }
        | Operator::Drop
        | Operator::End
        | Operator::Nop
        | Operator::Unreachable
        | Operator::I32Add
        | Operator::I32Sub
        | Operator::I32And
        | Operator::I32Or
        | Operator::I32Xor
        | Operator::I32Shl
        | Operator::I32ShrU
        | Operator::I32Eq
        | Operator::I32Eqz
        | Operator::I32Ne
        | Operator::I32LtU
        | Operator::I32GtU
        | Operator::I64Add
        | Operator::I64And
        | Operator::I64Or
        | Operator::I64Shl
        | Operator::I64ShrU => 1,
        Operator::Call { .. } | Operator::CallIndirect { .. } => 8 + widest_type,
        // The bits of a result that is no number are set by more instructions than the operation has.
        Operator::F32Add
        | Operator::F32Sub
        | Operator::F32Mul
        | Operator::F32Div
        | Operator::F32Sqrt
        | Operator::F64Add
        | Operator::F64Sub
        | Operator::F64Mul
        | Operator::F64Div
        | Operator::F64Sqrt => 16,
        _ => 8,
    }
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
        // Six values; block, loop twice, br_if, br, block, and br_table with two targets and its default.
        assert_eq!((cost.functions, cost.largest, cost.total), (2, 6 * 9, 6 * 9));
        // Two types; two functions; two blocks, loop, br_if, br and br_table; the gets; the ends.
        let work = (2 * TYPE_WORK + 3 * TYPE_VALUE_WORK) + 2 * FUNCTION_WORK + 6 * 8 + 3 + 5;
        assert_eq!(cost.total_work, work);
    }
}
