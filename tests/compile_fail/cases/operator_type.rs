//! An operator that is wired to a type it does not work on.

use gristmill::topology::{Accepts, provide};
use gristmill::traits::{Operator, Outputs, RowError, Rows};
use gristmill::{ElementType, Stream};

const LABEL: Stream<bool> = Stream::new("label");
const RMS: Stream<f32> = Stream::new("vibration.rms");

#[derive(Debug)]
struct Smooth;

impl Accepts<(f32,), (f32,)> for Smooth {}

impl Operator for Smooth {
    type State = f32;

    fn name(&self) -> &'static str {
        "smooth"
    }

    fn parameters(&self) -> String {
        String::new()
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) -> f32 {
        0.0
    }

    fn run(&self, _state: &mut f32, _rows: &Rows<'_>, _out: &mut Outputs<'_>) -> Result<(), RowError> {
        Ok(())
    }
}

fn main() {
    let _ = provide(RMS).needs(LABEL).by(Smooth);
}
