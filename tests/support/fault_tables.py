"""How often each fault is made, and the table of what came of it."""

from collections.abc import Callable, Mapping, Sequence

from tests.support import ROOT
from tests.support.camera_faults import FaultResult
from tests.support.events import DeliveryTally

TABLE = ROOT / "build" / "faults.md"


CAMERA_TABLE = TABLE.with_name("faults-cameras.md")


GROWTH_TABLE = TABLE.with_name("faults-growth.md")


DAMAGE_TABLE = TABLE.with_name("faults-damage.md")


Record = Callable[[str, DeliveryTally], None]


RecordCamera = Callable[[str, Sequence[FaultResult]], None]


RecordGrowth = Callable[[str, Mapping[str, int], Mapping[str, int]], None]
