//! Arrival and routing document give the plan.
