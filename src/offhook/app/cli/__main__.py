"""`python -m offhook.app.cli`: the same as `offhook`, for when the script is not on the PATH."""

from offhook.app.cli import main

main()
