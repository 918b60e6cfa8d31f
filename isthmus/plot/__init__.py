"""Plans as pictures: `plan_svg` makes an SVG document of a plan. Pure Python, no drawing library."""

from isthmus.plot.page import plan_svg

__all__ = ["plan_svg"]
