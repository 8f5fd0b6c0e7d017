"""The names of all keys and channels in Redis, made from one prefix."""

import re
from dataclasses import dataclass

from monitor.errors import UsageError

_HASH_TAG = re.compile(r"^[^{]*\{[^}]+\}")


@dataclass(frozen=True, slots=True)
class RedisKeys:
    """Key and channel names below `prefix` (printable ASCII without blanks, at most 64 characters).

    Raises UsageError for a prefix that cannot be one.
    """

    prefix: str = "defects"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[!-~]{1,64}", self.prefix):
            raise UsageError(
                f"the prefix {self.prefix!r} cannot begin a key: "
                "it is 1 to 64 printable ASCII characters without blanks"
            )

    @property
    def has_hash_tag(self) -> bool:
        """Whether the prefix has a hash tag, such as `{line1}`, so that a cluster keeps all keys together."""
        return _HASH_TAG.match(self.prefix) is not None

    @property
    def events(self) -> str:
        """The stream of events."""
        return f"{self.prefix}:events"

    @property
    def coverage(self) -> str:
        """The stream of what was not inspected."""
        return f"{self.prefix}:coverage"

    @property
    def incidents(self) -> str:
        """The stream of starts and ends of incidents."""
        return f"{self.prefix}:incidents"

    @property
    def verdicts(self) -> str:
        """The stream of a verdict for every frame."""
        return f"{self.prefix}:verdicts"

    @property
    def samples(self) -> str:
        """The stream of frames that are kept for learning."""
        return f"{self.prefix}:samples"

    @property
    def labels(self) -> str:
        """The stream of what people answer about frames."""
        return f"{self.prefix}:labels"

    def sample(self, sample_id: str) -> str:
        """The frame of a sample, PNG."""
        return f"{self.prefix}:sample:{sample_id}"

    @property
    def sample_ledger(self) -> str:
        """The ledger of the files of samples, by which the oldest are removed first."""
        return f"{self.prefix}:sample-files"

    def frame(self, event_id: str) -> str:
        """The annotated image of an event, JPEG."""
        return f"{self.prefix}:frame:{event_id}"

    def raw(self, event_id: str) -> str:
        """The image of an event as the camera gave it, JPEG."""
        return f"{self.prefix}:raw:{event_id}"

    @property
    def image_ledger(self) -> str:
        """The ledger of stored images, by which the oldest are removed first."""
        return f"{self.prefix}:pictures"

    def high_water_mark(self, daemon: str) -> str:
        """The hash of what a daemon has delivered: by run, the number of its last message."""
        return f"{self.prefix}:delivered:{daemon}"

    def lease(self, camera: str) -> str:
        """The lease of the daemon that watches a camera of this name."""
        return f"{self.prefix}:holder:{camera}"

    def preview(self, camera: str) -> str:
        """The hash with the newest frame of a camera as a small JPEG, while somebody watches."""
        return f"{self.prefix}:preview:{camera}"

    @property
    def watching(self) -> str:
        """The expiring key that exists while somebody watches previews."""
        return f"{self.prefix}:watching"

    def challenge(self, camera: str) -> str:
        """The list of known frames that a daemon is to inspect as those of a camera, as a test."""
        return f"{self.prefix}:challenge:{camera}"

    def challenge_answer(self, request: str) -> str:
        """The list with the answer to a challenge."""
        return f"{self.prefix}:challenge-answer:{request}"

    def live(self, camera: str) -> str:
        """The channel on which a camera's events are published."""
        return f"{self.prefix}:live:{camera}"
