"""The labelled set: eighteen situations, each a frame, two seconds of sound, and what a watchman would make of them.

Frames are drawn (frames.py) and sounds were made (speech.py), so the labels are right by construction. Sounds are from
voices that the keyword head was not trained with.
"""

from dataclasses import dataclass
from pathlib import Path

CLIPS = Path(__file__).parent / "clips"
WATCHED = "Ambulance\nRoad closed\nSchool bus\nHarbour Street\nKX51 TRB"
KEYWORDS = ("fire", "help", "police")


@dataclass(frozen=True, slots=True)
class Sign:
    """Lines of text on a board: turned clockwise by `degrees`, so large (pixels), one of CUTS (frames.py)."""

    lines: tuple[str, ...]
    degrees: float = 0.0
    size: int = 34
    cut: str = "plain"


@dataclass(frozen=True, slots=True)
class Situation:
    """What is there: signs, the watched word on one of them ("": none), the keyword that is said ("": none)."""

    signs: tuple[Sign, ...]
    word: str = ""
    keyword: str = ""
    light: float = 1.0  # 1: by day
    noise: float = 6.0  # standard deviation, of 255

    @property
    def decision(self) -> str:
        """One sign of trouble is noticed; an alarm takes both."""
        return ("quiet", "notice", "alarm")[bool(self.word) + bool(self.keyword)]


SITUATIONS = {
    "ambulance": Situation((Sign(("AMBULANCE",), 4, 40, "bold"),), "Ambulance", "help"),
    "barrier": Situation((Sign(("ROAD CLOSED", "Use other route"), -6, 32, "bold"),), "Road closed", ""),
    "bus": Situation((Sign(("School bus",), 0, 36), Sign(("No entry",), 9, 26)), "School bus", ""),
    "harbour": Situation((Sign(("Harbour Street",), -12, 20, "slanted"),), "Harbour Street", "fire"),
    "plate": Situation((Sign(("KX51 TRB",), 7, 38, "bold"),), "KX51 TRB", "police"),
    "works": Situation((Sign(("Road works", "Slow"), 3, 34),), "", "fire"),
    "inn": Situation((Sign(("Harbour Inn",), 14, 34, "slanted"),), "", ""),
    "lane": Situation((Sign(("School lane 12",), 0, 30, "narrow"),), "", "help"),
    "square": Situation((Sign(("Market square",), -8, 32),), "", ""),
    "wall": Situation((), "", "police"),
    "dusk": Situation((), "", "", light=0.4),
    "fallen": Situation((Sign(("ROAD CLOSED",), 176, 36, "bold"),), "Road closed", "help"),
    "overturned": Situation((Sign(("School bus",), 188, 24),), "School bus", "", light=0.7),
    "fleeing": Situation((Sign(("KX51 TRB",), -20, 22, "bold"),), "KX51 TRB", "", light=0.25, noise=10.0),
    "visitor": Situation((Sign(("HB07 LMN",), 10, 36, "bold"),), "", "fire"),
    "night": Situation((Sign(("Ambulance",), -5, 24),), "Ambulance", "police", light=0.18, noise=12.0),
    "bakery": Situation((Sign(("Bakery",), 5, 40, "slanted"), Sign(("Open",), -4, 30)), "", ""),
    "mill": Situation((Sign(("Mill Lane",), 0, 18, "narrow"),), "", "", noise=16.0),
}
# What is said in each ("": nothing), by which of espeak-ng's voices, and how many decibels above the street.
SOUNDS = {
    "ambulance": ("help", "en-gb+f3", 6.0),
    "barrier": ("", "", 15.0),
    "bus": ("coffee", "en-us+m2", 20.0),
    "harbour": ("fire", "en-us+m2", 3.0),
    "plate": ("police", "en-029+m6", 20.0),
    "works": ("fire", "en-gb+f3", 20.0),
    "inn": ("good morning", "en-us+f1", 15.0),
    "lane": ("help", "en-us+f1", 3.0),
    "square": ("", "", 60.0),
    "wall": ("police", "en-us+m2", 6.0),
    "dusk": ("", "", 9.0),
    "fallen": ("help", "en-us+m2", 20.0),
    "overturned": ("window", "en-gb+f3", 6.0),
    "fleeing": ("telephone", "en-029+m6", 15.0),
    "visitor": ("fire", "en-us+f1", 15.0),
    "night": ("police", "en-gb+f3", 3.0),
    "bakery": ("seven", "en-us+m2", 3.0),
    "mill": ("yellow", "en-gb+f3", 20.0),
}
