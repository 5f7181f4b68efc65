"""Number formats, rounding and packing: arrays in, arrays out."""
