//! Receivers that answer, refuse, stall and confirm late.
