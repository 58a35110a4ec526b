"""Networks of other projects: NIR files, state dicts, and what hardware can run."""
