//! The binary as a user has it, without a broker: demo and dev, help, exit codes, configuration, and what each command
//! prints.

#[path = "../shared/answer.rs"]
mod answer;
mod binary;
mod certify;
mod configuration;
mod demo;
mod dev;
mod examples;
mod exit_codes;
mod faulty;
mod help;
mod interventions;
mod readme;
mod receiver;
mod schemas;
mod watch;
mod wrong;
