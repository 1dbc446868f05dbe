"""The compressed classifier as ONNX: files that any stock runtime opens, and what it makes of them."""
