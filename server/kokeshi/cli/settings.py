"""`kokeshi settings`."""

from kokeshi.cli.options import Json, new_app, takes_settings
from kokeshi.cli.output import print_json, print_table
from kokeshi.settings import Settings

app = new_app()


def settings(settings: Settings, *, as_json: Json = False) -> None:
    """Show every setting, its value and where that came from.

    A flag goes before an environment variable (KOKESHI_ and the setting's name in capitals), that
    before the settings file, that before the default.
    """
    sources, values = settings.sources(), settings.shown()
    if as_json:
        print_json({n: {"value": values[n], "source": sources[n]} for n in values})
        return
    print_table(
        ["setting", "value", "source"],
        ((name, values[name], source) for name, source in sources.items()),
    )


app.command()(takes_settings(settings))
