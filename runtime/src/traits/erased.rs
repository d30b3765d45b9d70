//! Operators and their states behind trait objects: generic inside a node, dynamic at its border.

use std::any::Any;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key_runs::KeyRuns;
use super::operator::{Operator, Outputs, RowError, Rows};
use crate::prefetch::{CONTENT_AHEAD, PLACE_AHEAD, prefetch};
use crate::words::{ElementType, KeyIndex, Time};

/// An [`Operator`] whose state type is not known here. Implemented for every operator.
pub trait AnyOperator: fmt::Debug + Send + Sync + 'static {
    /// [`Operator::name`].
    fn name(&self) -> &'static str;
    /// [`Operator::parameters`].
    fn parameters(&self) -> String;
    /// [`Operator::state_version`].
    fn state_version(&self) -> u32;
    /// [`Operator::wire`].
    fn wire(&mut self, needs: &[(String, ElementType)], provides: &[(String, ElementType)]);
    /// [`Operator::check`].
    ///
    /// # Errors
    /// As there.
    fn check(&self, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String>;
    /// [`Operator::can_fail`].
    fn can_fail(&self) -> bool;
    /// [`Operator::own_rows`].
    fn own_rows(&self) -> bool;
    /// [`Operator::row_by_row`], for an operator without state.
    fn row_by_row(&self) -> bool;
    /// [`Operator::bytes`].
    fn bytes(&self) -> usize;
    /// An empty table for the states of this operator: of many keys, or of one.
    fn table(&self, many: bool) -> Box<dyn AnyTable>;
    /// [`Operator::run`] with the state of `key` in a table made by [`AnyOperator::table`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// When the table is of another operator.
    fn run(
        &self,
        table: &mut dyn AnyTable,
        key: KeyIndex,
        rows: &Rows<'_>,
        out: &mut Outputs<'_>,
    ) -> Result<(), RowError>;
    /// [`AnyOperator::run`] for each key from the one at place `next` on; `next` is moved on with each, so that it says
    /// which one failed.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// When the table is of another operator.
    fn run_keys(
        &self,
        table: &mut dyn AnyTable,
        keys: &KeyRuns<'_>,
        next: &mut usize,
        out: &mut Outputs<'_>,
    ) -> Result<(), RowError>;
    /// [`Operator::tick`], as [`AnyOperator::run`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// When the table is of another operator.
    fn tick(&self, table: &mut dyn AnyTable, key: KeyIndex, now: Time, out: &mut Outputs<'_>) -> Result<(), RowError>;
    /// [`Operator::prefetch`] of the state of `key`, if it has one.
    ///
    /// # Panics
    /// When the table is of another operator.
    fn prefetch(&self, table: &dyn AnyTable, key: KeyIndex);
}

impl<O: Operator> AnyOperator for O {
    fn name(&self) -> &'static str {
        Operator::name(self)
    }

    fn parameters(&self) -> String {
        Operator::parameters(self)
    }

    fn state_version(&self) -> u32 {
        Operator::state_version(self)
    }

    fn wire(&mut self, needs: &[(String, ElementType)], provides: &[(String, ElementType)]) {
        Operator::wire(self, needs, provides);
    }

    fn check(&self, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String> {
        Operator::check(self, needs, provides)
    }

    fn can_fail(&self) -> bool {
        Operator::can_fail(self)
    }

    fn own_rows(&self) -> bool {
        Operator::own_rows(self)
    }

    fn row_by_row(&self) -> bool {
        size_of::<O::State>() == 0 && !Operator::own_rows(self) && Operator::row_by_row(self)
    }

    fn bytes(&self) -> usize {
        Operator::bytes(self)
    }

    fn table(&self, many: bool) -> Box<dyn AnyTable> {
        if size_of::<O::State>() == 0 {
            Box::new(Table::<O::State>::Nothing(self.start()))
        } else if many {
            Box::new(Table::<O::State>::Many(Vec::new()))
        } else {
            Box::new(Table::<O::State>::One(None))
        }
    }

    fn run(
        &self,
        table: &mut dyn AnyTable,
        key: KeyIndex,
        rows: &Rows<'_>,
        out: &mut Outputs<'_>,
    ) -> Result<(), RowError> {
        Operator::run(self, self.state_of(table, key), rows, out)
    }

    fn run_keys(
        &self,
        table: &mut dyn AnyTable,
        keys: &KeyRuns<'_>,
        next: &mut usize,
        out: &mut Outputs<'_>,
    ) -> Result<(), RowError> {
        let table = self.table_of(table);
        while let Some(key) = keys.key(*next) {
            keys.key(*next + PLACE_AHEAD).into_iter().for_each(|key| AnyTable::prefetch(table, key));
            let near = keys.key(*next + CONTENT_AHEAD).and_then(|key| table.slot(key));
            near.into_iter().for_each(|state| Operator::prefetch(self, state));
            let rows = keys.range(*next);
            if !rows.is_empty() {
                let state = table.entry(key, || self.start());
                Operator::run(self, state, &keys.rows(*next), &mut out.part(rows))?;
            }
            *next += 1;
        }
        Ok(())
    }

    fn tick(&self, table: &mut dyn AnyTable, key: KeyIndex, now: Time, out: &mut Outputs<'_>) -> Result<(), RowError> {
        Operator::tick(self, self.state_of(table, key), now, out)
    }

    fn prefetch(&self, table: &dyn AnyTable, key: KeyIndex) {
        let table =
            table.as_any().downcast_ref::<Table<O::State>>().expect("a node's table is made by its own operator");
        if let Some(state) = table.slot(key) {
            Operator::prefetch(self, state);
        }
    }
}

trait StateOf: Operator {
    fn table_of<'t>(&self, table: &'t mut dyn AnyTable) -> &'t mut Table<Self::State> {
        let table = table.as_any_mut().downcast_mut::<Table<Self::State>>();
        table.expect("a node's table is made by its own operator")
    }

    fn state_of<'t>(&self, table: &'t mut dyn AnyTable, key: KeyIndex) -> &'t mut Self::State {
        self.table_of(table).entry(key, || self.start())
    }
}

impl<O: Operator> StateOf for O {}

/// The states of one node by key, of a type not known here.
pub trait AnyTable: Any + Send {
    /// For the operator, which knows the type.
    fn as_any(&self) -> &dyn Any;
    /// The same.
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// Asks for a key's state, without what it points to, to be brought near.
    fn prefetch(&self, key: KeyIndex);
    /// A copy of a key's state; `None` when it has none yet.
    fn save(&self, key: KeyIndex) -> Option<Box<dyn Any>>;
    /// Puts back what [`AnyTable::save`] gave.
    fn restore(&mut self, key: KeyIndex, saved: Option<Box<dyn Any>>);
    /// Whether there is nothing to remember: the state type has no size.
    fn is_stateless(&self) -> bool;
    /// About how many bytes the states of all keys take: their slots, and what [`AnyTable::encode`] makes of a few of
    /// them for what they point to.
    fn bytes(&self) -> usize;
    /// The state of a key as bytes (bincode, standard configuration); `None` when it has none.
    ///
    /// # Errors
    /// The encoder's text: the state's type cannot be written down.
    fn encode(&self, key: KeyIndex) -> Result<Option<Vec<u8>>, String>;
    /// The state of a key for people to look at; `None` when it has none, or cannot be shown so.
    fn show(&self, key: KeyIndex) -> Option<serde_json::Value>;
    /// Reads what [`AnyTable::encode`] wrote.
    ///
    /// # Errors
    /// The decoder's text.
    fn decode(&mut self, key: KeyIndex, bytes: &[u8]) -> Result<(), String>;
}

/// States by the key's place on its shard.
enum Table<S> {
    /// The state has no size: one stands for all.
    Nothing(S),
    /// A key without rows has none.
    Many(Vec<Option<S>>),
    /// Of a node that is limited to one key.
    One(Option<S>),
}

impl<S> Table<S> {
    #[inline]
    fn entry(&mut self, key: KeyIndex, start: impl FnOnce() -> S) -> &mut S {
        match self {
            Self::Nothing(state) => state,
            Self::Many(states) => {
                let index = key.0 as usize;
                if index >= states.len() {
                    states.resize_with(index + 1, || None);
                }
                states[index].get_or_insert_with(start)
            }
            Self::One(state) => state.get_or_insert_with(start),
        }
    }

    fn slot(&self, key: KeyIndex) -> Option<&S> {
        match self {
            Self::Nothing(_) => None,
            Self::Many(states) => states.get(key.0 as usize)?.as_ref(),
            Self::One(state) => state.as_ref(),
        }
    }

    fn set(&mut self, key: KeyIndex, value: Option<S>) {
        match (self, value) {
            (Self::Nothing(_), _) => {}
            (Self::Many(states), None) => {
                if let Some(state) = states.get_mut(key.0 as usize) {
                    *state = None;
                }
            }
            (table @ Self::Many(_), Some(value)) => {
                let mut value = Some(value);
                let state = table.entry(key, || value.take().expect("taken once"));
                if let Some(value) = value {
                    *state = value;
                }
            }
            (Self::One(state), value) => *state = value,
        }
    }
}

impl<S: Clone + Serialize + DeserializeOwned + Send + 'static> AnyTable for Table<S> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn prefetch(&self, key: KeyIndex) {
        match self {
            Self::Nothing(_) => {}
            Self::Many(states) => states.get(key.0 as usize).into_iter().for_each(prefetch),
            Self::One(state) => prefetch(state),
        }
    }

    fn save(&self, key: KeyIndex) -> Option<Box<dyn Any>> {
        self.slot(key).map(|state| Box::new(state.clone()) as Box<dyn Any>)
    }

    fn restore(&mut self, key: KeyIndex, saved: Option<Box<dyn Any>>) {
        let saved = saved.map(|state| *state.downcast::<S>().expect("what is restored was saved here"));
        self.set(key, saved);
    }

    fn is_stateless(&self) -> bool {
        matches!(self, Self::Nothing(_))
    }

    fn bytes(&self) -> usize {
        let (slots, states) = match self {
            Self::Nothing(_) => return 0,
            Self::Many(states) => (states.capacity(), states.iter().flatten().count()),
            Self::One(state) => (1, usize::from(state.is_some())),
        };
        let known = (0..u32::try_from(slots).unwrap_or(u32::MAX))
            .map(KeyIndex)
            .filter_map(|key| self.encode(key).ok().flatten());
        let (sampled, bytes) = known.take(STATES_SAMPLED).fold((0, 0), |sum, state| (sum.0 + 1, sum.1 + state.len()));
        slots * size_of::<Option<S>>() + states * bytes.checked_div(sampled).unwrap_or(0)
    }

    fn encode(&self, key: KeyIndex) -> Result<Option<Vec<u8>>, String> {
        let Some(state) = self.slot(key) else { return Ok(None) };
        let bytes = bincode::serde::encode_to_vec(state, bincode::config::standard());
        bytes.map(Some).map_err(|error| error.to_string())
    }

    fn show(&self, key: KeyIndex) -> Option<serde_json::Value> {
        serde_json::to_value(self.slot(key)?).ok()
    }

    fn decode(&mut self, key: KeyIndex, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > STATE_BYTES_MAX {
            return Err(format!("it has {} bytes, and the limit is {STATE_BYTES_MAX}", bytes.len()));
        }
        // The decoder's own limit counts numbers as if they were not packed: it would refuse what was saved.
        let config = bincode::config::standard();
        let (state, read) =
            bincode::serde::decode_from_slice::<S, _>(bytes, config).map_err(|error| error.to_string())?;
        if read != bytes.len() {
            return Err(format!("{} bytes are left over", bytes.len() - read));
        }
        self.set(key, Some(state));
        Ok(())
    }
}

/// States that are written to estimate the memory of all.
const STATES_SAMPLED: usize = 16;

/// The largest state of one key of one node that is saved and read back.
pub const STATE_BYTES_MAX: usize = 64 * 1024 * 1024;
