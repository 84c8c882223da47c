//! librdkafka doesn't act on the leaders that a broker names within a response (KIP-951).
//!
//! What it does with them is wrong in two ways up to 2.14 at least: a partition that has no leader at that moment makes
//! it read memory that nobody wrote, which ends the process by SIGSEGV (librdkafka issue 5280), or leaves the partition
//! without a leader for ever (issue 5430). Both come when a broker goes. The hints only save a round trip: librdkafka
//! asks for the metadata after the same response in any case.
//!
//! The linker replaces the function by the one below (build.rs): docs/decisions/0088-no-leader-hints.md.

use std::ffi::{c_int, c_void};

/// `RD_KAFKA_OP_RES_HANDLED`: the caller frees the hints and goes on.
const HANDLED: c_int = 1;

/// In place of `rd_kafka_op_res_t rd_kafka_metadata_update_op(rd_kafka_t *rk, rd_kafka_metadata_internal_t *mdi)`. Looks
/// at neither argument.
// The name must be the one that the linker looks for; a name of C's may collide with another, hence "unsafe".
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn __wrap_rd_kafka_metadata_update_op(_client: *mut c_void, _hints: *mut c_void) -> c_int {
    HANDLED
}

#[cfg(test)]
mod tests {
    use std::ffi::{c_int, c_void};

    #[test]
    fn librdkafka_calls_ours() {
        #[allow(unsafe_code)]
        unsafe extern "C" {
            fn rd_kafka_metadata_update_op(client: *mut c_void, hints: *mut c_void) -> c_int;
        }
        // The linker does to this reference what it does to librdkafka's.
        let (called, ours) =
            (rd_kafka_metadata_update_op as *const (), super::__wrap_rd_kafka_metadata_update_op as *const ());
        assert_eq!(called, ours, "build.rs asks the linker to replace it");
    }
}
