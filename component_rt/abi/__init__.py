"""The canonical ABI as generated code: layouts, flattening, strings, and the Python source made from a function type."""
