"""The built-in plugins. `PLUGINS` is what the entry point `builtin` offers."""

PLUGINS = ()
