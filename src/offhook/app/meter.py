"""A level meter made of characters."""

FLOOR_DBFS = -60.0


def meter(level_dbfs: float | None, *, width: int = 20) -> str:
    """Return a bar from -60 dBFS to full scale; None is digital silence."""
    if level_dbfs is None:
        return "·" * width
    share = min(max((level_dbfs - FLOOR_DBFS) / -FLOOR_DBFS, 0.0), 1.0)
    filled = round(share * width)
    return "█" * filled + "·" * (width - filled)


def level_text(level_dbfs: float | None) -> str:
    """Return the level as seven characters of text."""
    return " silent" if level_dbfs is None else f"{level_dbfs:5.0f}dB"
