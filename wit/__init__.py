"""WIT: the text and binary formats of WebAssembly interface types."""
