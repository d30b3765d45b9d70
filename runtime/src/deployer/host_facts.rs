//! What the host knows of keys changes while it runs: a revision like any other, under what was deployed.

use super::Deployer;
use super::attributes::AttributeChange;
use super::change::{Outcome, Refusal, Terms, hash_of};
use super::deploy::{Plan, Said};
use crate::registry::{Decided, Kind};
use crate::topology::Attributes;
use crate::words::Class;

impl Deployer {
    /// Replaces what the host knows of keys, as if it had started with it; facts that were deployed lie over it as before.
    /// It is not kept: the next start has what the host knows then. `note` says in the record where it is from.
    ///
    /// # Errors
    /// [`Refusal`]; what was known before stands.
    pub async fn host_attributes(
        &self,
        topology: Option<&Class>,
        known: Attributes,
        note: &str,
        who: &str,
    ) -> Result<Outcome, Refusal> {
        let (topology, note, terms) = (topology.cloned(), note.to_owned(), Terms::by(who));
        self.at_its_turn(|deployer| async move { deployer.know_in_turn(topology, known, note, &terms).await }).await
    }

    async fn know_in_turn(
        &self,
        topology: Option<Class>,
        known: Attributes,
        note: String,
        terms: &Terms,
    ) -> Result<Outcome, Refusal> {
        let asked = hash_of(&[("host-attributes", note.clone(), String::new())]);
        let plan = match self.plan_known(topology.as_ref(), &known, note) {
            Ok(plan) => plan,
            Err(refusal) => {
                let topology = topology.unwrap_or_else(|| Class::from("?"));
                let record = self.record_of(terms, asked, topology, Kind::Facts, Said::default());
                return Err(self.refuse(terms, record, refusal));
            }
        };
        let topology = plan.topology.clone();
        let outcome = self.carry_out(plan, terms, asked).await?;
        self.facts().insert(topology, known);
        Ok(outcome)
    }

    fn plan_known(&self, topology: Option<&Class>, known: &Attributes, note: String) -> Result<Plan, Refusal> {
        let topology = self.topology(topology)?;
        let content = self.content(&topology);
        let deployed = AttributeChange::load(&self.folder(), content.attributes)?;
        Ok(Plan {
            topology: topology.clone(),
            kind: Kind::Facts,
            put: Vec::new(),
            remove: Vec::new(),
            decided: Decided::default(),
            may_lose_state: false,
            attributes: Some(deployed.over_changed(known, &self.facts_of(&topology), &self.known(&topology))?),
            facts: None,
            note,
            sets: Vec::new(),
            content,
        })
    }
}
