//! Deployments go one after the other, each in a task of its own.

use std::sync::Arc;

use tokio::sync::MutexGuard;
use tokio::task::JoinHandle;
use tracing::Instrument;
use tracing::field::Empty;

use super::{Handle, State};
use crate::metrics::Deployed;
use crate::supervisor::{
    Applied, ClassState, DeployError, Deployment, Doors, Staged, drain_and_retire, phase, prepare, switch,
    try_and_stage,
};
use crate::topology::diff::Changes;
use crate::topology::plan::ClassPlan;
use crate::words::{Class, Revision};

/// A deployment that was validated, bound to the revision that ran then.
#[must_use = "a preview changes nothing until it is applied"]
pub struct Preview {
    handle: Handle,
    deployment: Deployment,
    base: Revision,
    next: Revision,
    changes: Changes,
}

impl std::fmt::Display for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (revision {})", self.changes, self.next)
    }
}

impl Preview {
    /// What would change.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The revision it is bound to.
    pub fn base(&self) -> Revision {
        self.base
    }

    /// Carries it out.
    ///
    /// # Errors
    /// [`DeployError::Stale`] when something else was deployed since; and all that can go wrong in staging.
    pub async fn apply(self) -> Result<Applied, DeployError> {
        self.handle.carry_out(self.deployment, Some(self.base)).await
    }

    /// The same for a caller who has the turn.
    pub(crate) async fn apply_in_turn(self) -> Result<Applied, DeployError> {
        self.handle.in_turn(&self.deployment, Some(self.base)).await
    }
}

impl Handle {
    /// Validates a deployment and says what it would change.
    ///
    /// # Errors
    /// [`DeployError`] with everything that is wrong.
    pub async fn preview(&self, deployment: impl Into<Deployment>) -> Result<Preview, DeployError> {
        let deployment = deployment.into();
        let (ground, next, base) = {
            let state = self.0.state();
            let class = state.class(&deployment)?;
            (state.classes[&class].ground(&deployment)?, state.next(&deployment), state.revision)
        };
        let staged = prepare(ground, &deployment, next)?;
        Ok(Preview { handle: self.clone(), deployment, base, next, changes: staged.changes })
    }

    /// What runs of a class.
    pub(crate) fn running(&self, class: &Class) -> Option<Arc<ClassPlan>> {
        self.0.state().classes.get(class).map(|class| Arc::clone(&class.plan))
    }

    /// The highest number that a deployment has had or was tried under.
    pub(crate) fn last_number(&self) -> Revision {
        self.0.state().last_number()
    }

    /// A number is used: no plan gets it any more.
    pub(crate) fn used(&self, number: Revision) {
        let mut state = self.0.state();
        state.tried = state.tried.max(number);
    }

    /// The turn: until it is dropped, nobody else deploys.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().await
    }

    /// Carries a deployment out in a task of its own, so that it comes to its end when the caller goes away.
    pub(super) async fn carry_out(
        &self,
        deployment: Deployment,
        base: Option<Revision>,
    ) -> Result<Applied, DeployError> {
        let handle = self.clone();
        let task = async move {
            let _turn = handle.turn().await;
            handle.in_turn(&deployment, base).await
        };
        ended(tokio::spawn(task.in_current_span())).await
    }

    /// Carries a deployment out for a caller who has the turn.
    pub(crate) async fn in_turn(
        &self,
        deployment: &Deployment,
        base: Option<Revision>,
    ) -> Result<Applied, DeployError> {
        let (class, doors, next, current) = {
            let state = self.0.state();
            let class = state.class(deployment)?;
            let doors = Arc::clone(&state.classes[&class].doors);
            (class, doors, state.next(deployment), state.revision)
        };
        let span = tracing::info_span!(
            "deployment", %class, revision = next.0 as i64, result = Empty, changes = Empty,
            prepare_us = Empty, trial_us = Empty, stage_us = Empty, switch_us = Empty, drain_us = Empty
        );
        let begun = doors.clock.monotonic();
        let result = match base.filter(|base| *base != current) {
            Some(base) => Err(DeployError::Stale { base, current }),
            None => span.in_scope(|| {
                let ground = self.0.state().classes[&class].ground(deployment)?;
                prepare(ground, deployment, next)
            }),
        };
        phase(&doors, &span, "prepare_us", begun);
        let result = match result {
            Ok(staged) => {
                self.stage_and_switch(&class, &doors, staged, deployment, &span).instrument(span.clone()).await
            }
            Err(error) => Err(error),
        };
        let how = match &result {
            Ok(applied) if applied.revision == next => Deployed::Applied,
            Ok(_) => Deployed::Unchanged,
            Err(error) if error.each().iter().any(has_failed) => Deployed::Failed,
            Err(_) => Deployed::Refused,
        };
        span.record("result", how.name());
        doors.metrics.deployed(how, doors.clock.monotonic().saturating_sub(begun).as_secs_f64());
        result
    }

    /// Starts what is prepared, switches to it, and lets what departed drain in the background.
    async fn stage_and_switch(
        &self,
        class: &Class,
        doors: &Arc<Doors>,
        mut staged: Staged,
        deployment: &Deployment,
        span: &tracing::Span,
    ) -> Result<Applied, DeployError> {
        let (old, revision) = (Arc::clone(&self.0.state().classes[class].plan), staged.plan.revision);
        self.in_class(class, |class| class.staged = Some(Arc::clone(&staged.plan)));
        // Shards may still take back what has failed when the next deployment comes: its number is another.
        let stages = || self.0.state().tried = revision;
        let started = try_and_stage(doors, &mut staged, deployment.limit, span, stages).await;
        self.in_class(class, |class| class.staged = None);
        started?;
        if staged.is_nothing() {
            return Ok(Applied { revision: old.revision, changes: staged.changes, positions: Vec::new() });
        }
        let unrecorded = self.0.state().unrecorded.clone().filter(|_| deployment.number.is_none());
        if let Some(unrecorded) = unrecorded {
            // It may wait for the disk. Its panic is nobody's here.
            let _ = tokio::task::spawn_blocking(move || unrecorded(revision)).await;
        }
        let positions = switch(doors, &old, &staged, span).await;
        let (retire, departed) = (staged.retire(), staged.departed(&old));
        let Staged { declared, plan, changes, .. } = staged;
        {
            let mut state = self.0.state();
            state.revision = state.revision.max(revision);
            let class = state.classes.get_mut(class).expect("classes stay");
            class.took_over(declared, plan, departed, deployment.only_subscriptions);
        }
        let over = self.let_go(class);
        let (weak, class, doors) = (Arc::downgrade(&self.0), class.clone(), Arc::clone(doors));
        let span = span.clone();
        tokio::spawn(async move {
            drain_and_retire(doors, retire, span).await;
            over.iter().for_each(|flow| flow.end());
            // Nobody asks any more when it is gone.
            let Some(inner) = weak.upgrade() else { return };
            Self(inner).in_class(&class, |class| class.draining.retain(|(before, _)| *before != revision));
        });
        Ok(Applied { revision, changes, positions })
    }

    fn in_class(&self, class: &Class, change: impl FnOnce(&mut ClassState)) {
        change(self.0.state().classes.get_mut(class).expect("classes stay"));
    }
}

/// Whether a deployment was begun and did not work, rather than refused.
fn has_failed(error: &DeployError) -> bool {
    use DeployError::{Stage, Stopped, TimedOut, Trial};
    matches!(error, Trial { .. } | Stage { .. } | TimedOut { .. } | Stopped)
}

/// What a task came to; its panic goes on here, and one that cannot end any more says that the runtime has stopped.
pub(crate) async fn ended<T, E: From<DeployError>>(task: JoinHandle<Result<T, E>>) -> Result<T, E> {
    match task.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(DeployError::Stopped.into()),
    }
}

impl State {
    fn last_number(&self) -> Revision {
        self.revision.max(self.tried)
    }

    /// The number that a deployment would get.
    fn next(&self, deployment: &Deployment) -> Revision {
        let next = Revision(self.last_number().0 + 1);
        deployment.number.map_or(next, |number| number.max(next))
    }

    /// The class that a deployment is for.
    pub(super) fn class(&self, deployment: &Deployment) -> Result<Class, DeployError> {
        let known = || self.classes.keys().map(|class| format!("`{class}`")).collect::<Vec<_>>().join(", ");
        match &deployment.class {
            Some(class) if self.classes.contains_key(class) => Ok(class.clone()),
            Some(class) => Err(DeployError::UnknownClass { class: class.clone(), known: known() }),
            None if self.classes.len() == 1 => Ok(self.classes.keys().next().expect("there is one").clone()),
            None => Err(DeployError::WhichClass { known: known() }),
        }
    }
}
