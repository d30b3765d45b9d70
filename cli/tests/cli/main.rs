//! `grist` from outside: what people type, and what they get.

mod admin;
mod bench;
mod demo;
mod files;
mod help;
mod run;
mod score;
mod support;
