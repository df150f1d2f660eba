//! Forecasts of made-up histories, good and bad.
