"""Write `offhook.default.toml`."""

import sys

from offhook.app.settings.template import default_toml

sys.stdout.write(default_toml())
