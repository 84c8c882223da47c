//! The binary as a user has it, without a broker: demo and dev, help, exit codes, configuration, and what each command
//! prints.

mod binary;
mod configuration;
mod demo;
mod dev;
mod exit_codes;
mod help;
mod interventions;
mod schemas;
mod watch;
mod wrong;
