//! `grist` from outside: what people type, and what they get.

mod demo;
mod files;
mod help;
mod run;
mod score;
mod support;
