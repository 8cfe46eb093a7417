"""Print docs/settings.md, made from the settings themselves.

python -m tests.support.settings_page > docs/settings.md
"""

from app.cli.settings_flags import GROUPS
from app.settings import Settings

HEAD = """\
# Settings

Every setting is an environment variable and a flag of `digitserve serve`. A flag overrides the environment, the
environment overrides a `.env` file, and that overrides the default. An empty variable counts as unset. The defaults
suit one process on one core that only the local machine can reach.

The groups are those of `digitserve serve --help`. [Operating](operating.md) explains how the limits work together. This
page is generated from [app/settings.py](../app/settings.py). Do not edit it: run
`python -m tests.support.settings_page > docs/settings.md`.

```mermaid
flowchart LR
  flag["flag"] -- "else" --> variable["environment variable"]
  variable -- "else" --> file[".env file"] -- "else" --> default["default"]
```
"""

TABLE = """
## {title}

| variable | flag | default | meaning |
| --- | --- | --- | --- |
"""


def settings_page() -> str:
    """Return the text of docs/settings.md: a table for each group of flags, with one row for each setting."""
    tables = (
        TABLE.format(title=title[0].upper() + title[1:]) + "".join(make_row(name) for name in names)
        for title, names in GROUPS.items()
    )
    return HEAD + "".join(tables)


def make_row(name: str) -> str:
    """Return a setting's row."""
    field = Settings.model_fields[name]
    if name == "model":  # its default is a path that depends on where the package is installed
        default = "the released model"
    elif field.default == "":
        default = "none"
    else:
        default = f"`{field.default}`"
    return f"| `DIGITS_{name.upper()}` | `--{name.replace('_', '-')}` | {default} | {field.description} |\n"


if __name__ == "__main__":
    print(settings_page(), end="")
