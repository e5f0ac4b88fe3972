//! A seeded bad network for simulations: loss, duplication, reordering, delay.
