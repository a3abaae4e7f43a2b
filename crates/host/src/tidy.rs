//! After a commit: what is not needed any more goes. `elea agent tidy`.

use crate::apply::NoPayloads;
use crate::boots;
use crate::error::Error;
use crate::machine::Machine;
use crate::plan::{self, Plan};
use elea_store::Collected;
use elea_sys::progress::Progress;
use serde::Serialize;
use std::time::Duration;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.tidied/1";
/// How long to wait while something is fetched; the next commit tidies too.
const WAIT: Duration = Duration::from_mins(10);

/// What went.
#[derive(Debug, Clone, Serialize)]
pub struct Tidied {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The change of generations.
    pub plan: Plan,
    /// What earlier boots had in their fresh `/etc` and `/var`, by the ids of the boots.
    pub boots: boots::Went,
    /// What the store lost; none if nothing could be collected yet.
    pub store: Option<Collected>,
}

/// Collects generations that are not kept, then images and objects that no kept one needs.
/// Nothing goes unless the running generation is good (invariant 4).
pub fn tidy(machine: &Machine, progress: &dyn Progress) -> Result<Tidied, Error> {
    let _claimed = machine.claim(WAIT)?;
    let plan = {
        let _locked = machine.lock()?;
        let plan = plan::collect(&machine.view()?, machine.number());
        machine.apply(&plan, &NoPayloads)?;
        plan
    };
    let boots = boots::tidy(machine);
    let committed = machine.number().is_some_and(|number| {
        let good = |view: crate::view::View| {
            view.state(number, None) == crate::view::State::Good && view.was_committed(number)
        };
        machine.view().is_ok_and(good)
    });
    let store = if committed {
        Some(machine.store()?.gc(&machine.roots()?, false, progress)?)
    } else {
        None
    };
    Ok(Tidied {
        schema: SCHEMA,
        plan,
        boots,
        store,
    })
}
