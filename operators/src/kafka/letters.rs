//! Dead letters to a topic.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gristmill::traits::sink::{DeadLetter, DeadLetters};
use gristmill::traits::{Done, SinkError};

use super::overflow::Overflow;
use super::producer::{Core, Note, Options};
use crate::codec::letter::write_letter;
use crate::codec::row::TimeStyle;

/// Where dead letters are to go; made by [`dead_letters`].
#[derive(Debug)]
#[must_use]
pub struct KafkaLettersOptions {
    options: Options,
}

/// Begins a writer of dead letters to `topic`: the JSON of [`write_letter`], under the letter's key where it is known.
/// What cannot be delivered is treated as by [`sink`](super::sink()).
pub fn dead_letters(topic: &str) -> KafkaLettersOptions {
    KafkaLettersOptions { options: Options::new(topic) }
}

impl KafkaLettersOptions {
    /// The addresses to connect to first.
    pub fn brokers(mut self, brokers: &str) -> Self {
        brokers.clone_into(&mut self.options.properties.brokers);
        self
    }

    /// Sets a property of librdkafka, from the operator's own configuration only.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.options.properties.set(name, value);
        self
    }

    /// The longest that a flush waits; 30 s unless said.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.options.flush_timeout = timeout;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// When the description makes no sense, no broker answers, or the topic is missing.
    pub fn open(self) -> Result<KafkaLetters, SinkError> {
        let core = Core::open(&self.options)?;
        Ok(KafkaLetters { queue: core.queue(), core })
    }
}

/// Writes dead letters to a topic.
pub struct KafkaLetters {
    core: Arc<Core>,
    queue: Arc<Overflow<Note>>,
}

impl KafkaLetters {
    /// Waits until all letters are delivered.
    ///
    /// # Errors
    /// When some are not within the time-out.
    pub fn flush(&self) -> Result<(), SinkError> {
        self.core.flush()
    }
}

impl DeadLetters for KafkaLetters {
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        let (word, mut line) = (self.core.begin(letters.len(), done), Vec::new());
        for letter in &letters {
            line.clear();
            write_letter(letter, TimeStyle::Rfc3339, &mut line);
            let key = letter.key.as_ref().map_or(&[][..], |key| key.as_bytes());
            self.core.send(&self.queue, key, &line, Note { word: word.clone(), trace: None });
        }
        self.core.end(&word, 0);
    }
}

impl fmt::Debug for KafkaLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KafkaLetters")
    }
}
