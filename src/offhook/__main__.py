"""`python -m offhook` is the `offhook` command."""

from offhook.app.cli import main

if __name__ == "__main__":
    main()
