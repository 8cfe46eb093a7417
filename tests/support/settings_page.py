"""Print docs/settings.md, made from the settings themselves.

python -m tests.support.settings_page > docs/settings.md
"""

from app.settings import Settings

HEAD = """\
# Settings

Every setting is an environment variable and a flag of `digitserve serve`. A flag overrides the environment, the
environment overrides a `.env` file, and that overrides the default. An empty variable counts as unset. The defaults
suit one process on one core that only the local machine can reach.

This table is generated from [app/settings.py](../app/settings.py). Do not edit it: run
`python -m tests.support.settings_page > docs/settings.md`. [Operating](operating.md) explains how the limits work
together.

| variable | flag | default | meaning |
| --- | --- | --- | --- |
"""


def settings_page() -> str:
    """Return the text of docs/settings.md: one table row for each setting, in the order of the class."""
    rows = []
    for name, field in Settings.model_fields.items():
        if name == "model":  # its default is a path that depends on where the package is installed
            default = "the released model"
        elif field.default == "":
            default = "none"
        else:
            default = f"`{field.default}`"
        rows.append(f"| `DIGITS_{name.upper()}` | `--{name.replace('_', '-')}` | {default} | {field.description} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    print(settings_page(), end="")
