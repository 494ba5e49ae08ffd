"""9 what looks wrong: unusual look-ups, noticed in time and explained.

``access`` is what is judged; ``features``, ``counters``, ``baseline`` and ``tail`` are what ``score`` judges
by, inline; ``watch`` is what an answer asks; ``explain`` says why. ``batch``, ``drift`` and ``together`` look
back over a whole log, as ibis expressions (extra ``analytics``; not imported here). ``simulate`` is a bank to
measure it by. Nothing here does I/O, and nothing here raises into the path of an access.
"""

from privguard.anomaly.access import Access, Relation
from privguard.anomaly.evidence import Cause, Evidence, Level, Risk
from privguard.anomaly.score import Rules, Scorer
from privguard.anomaly.watch import TOUCHED, Sight, Watch, assessment, sight_of

__all__ = [
    "TOUCHED",
    "Access",
    "Cause",
    "Evidence",
    "Level",
    "Relation",
    "Risk",
    "Rules",
    "Scorer",
    "Sight",
    "Watch",
    "assessment",
    "sight_of",
]
