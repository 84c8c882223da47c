//! Keeps librdkafka's leader hints out of the binary: docs/decisions/0088-no-leader-hints.md.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // It works because one object file of librdkafka defines the function and another one calls it.
    // The linker of other systems can't replace a function. They keep the fault.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        for argument in ["--wrap=rd_kafka_metadata_update_op", "-u,__wrap_rd_kafka_metadata_update_op"] {
            println!("cargo::rustc-link-arg=-Wl,{argument}");
        }
    }
}
