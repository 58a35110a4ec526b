"""From YAML and overrides to objects: the only room that knows both."""
