//! The contestants of `make bench`, and what prepares their input: one process for each, driven by `benches/run`.
//!
//! A process says on its standard output, a line each, where it stands (`LOADED`, `READY`, `DONE`, followed by JSON), and
//! waits on its standard input for what the driver says next. Whoever measures it reads the kernel's figures from outside.

mod announce;
mod bare;
mod codec;
mod engine;
mod fold;
mod join;
mod kafka;
mod load;
mod options;
mod product;
mod receive;
mod whole;
mod workload;

use options::Options;

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // `cargo bench` and `cargo test` pass flags of their own; without a subcommand there is nothing to do.
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let Some(command) = arguments.next() else {
        eprintln!("one of: load, join, bare, announce, whole, product, receive, fold, codec; `make bench` drives them");
        return;
    };
    let options = Options::read(arguments);
    match command.as_str() {
        "load" => load::run(&options),
        "join" => join::run(&options),
        "bare" => bare::run(&options),
        "announce" => announce::run(&options),
        "whole" => whole::run(&options),
        "product" => product::run(&options),
        "receive" => receive::run(),
        "fold" => fold::run(&options),
        "codec" => codec::run(&options),
        other => panic!("no contestant is called {other}"),
    }
}
