//! Golden figures, bad files, own prices.
