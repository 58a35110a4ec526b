"""Networks in the formats of other programs: NIR, state dicts, C99, ONNX, chips."""

PROVIDES = {
    "Network.to_nir": "snnlab.interop.nir_export:to_graph",
    "from_nir": "snnlab.interop.nir_import:network_of",
    "model.weights.file": "snnlab.interop.session.foreign_weights:load_foreign",
}
# What belongs to it outside of its folder and of its tests.
FILES = (
    "docs/deploy.md",
    "docs/nir.md",
    "docs/tutorials/coming_from.md",
    "scripts/nir_readers.py",
)
