"""Quantities as a picture tells them: short, with a unit, never more digits than mean anything."""


def seconds(value: float) -> str:
    """Such as "0.25 ms", "34 ms", "1.2 s"."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale * 0.9995:
            return f"{digits(value / scale)} {unit}"
    return "0 ms" if value < 5e-10 else f"{digits(value * 1e6)} µs"


def nbytes(value: float) -> str:
    """Such as "512 B", "58.8 kB", "3.1 MB", in powers of ten as links count them."""
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= scale * 0.9995:
            return f"{digits(value / scale)} {unit}"
    return f"{value:.0f} B"


def mbps(bytes_per_s: float) -> str:
    """Goodput as networks count it: "40 Mbps"."""
    return f"{digits(bytes_per_s * 8e-6)} Mbps"


def digits(value: float) -> str:
    """Three significant digits, without a power of ten and without zeros at the end of a fraction."""
    if value >= 100:
        return f"{value:,.0f}"
    told = f"{value:.2f}" if value >= 1 and value < 10 else f"{value:.3g}" if value >= 1e-4 else f"{value:.1g}"
    return told.rstrip("0").rstrip(".") if "." in told and "e" not in told else told
