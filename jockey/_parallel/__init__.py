"""Functions over many items, side by side: the parts of `map` and `amap`."""
