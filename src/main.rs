//! lockstep
fn main(){}
