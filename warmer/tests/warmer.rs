//! The forecast on a real shop's sales, and on sales made up to move fast.

mod forecast {
    mod figures;
    mod peeking;
    mod swift;
    pub mod trace;
}
