"""Settings of the server and the command line, and where each value came from.

A flag goes before an environment variable (`KOKESHI_` and the setting's name in capitals), that
before the settings file (`--config`, `KOKESHI_CONFIG`, or `kokeshi.toml` in the working directory),
that before the default. A name that is no setting is an error, not a silence.
"""

from kokeshi.settings.cores import usable_cores
from kokeshi.settings.settings import Settings
from kokeshi.settings.sources import flag_of, variable_of

__all__ = ["Settings", "flag_of", "usable_cores", "variable_of"]
