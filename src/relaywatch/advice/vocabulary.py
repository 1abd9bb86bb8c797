"""The closed vocabularies of the catalogue; each value is stored in files and reports, so none may change."""

from enum import StrEnum


class Language(StrEnum):
    """A language in which every text of the catalogue is written."""

    EN = "en"
    KO = "ko"


class Kind(StrEnum):
    """What sort of thing an advisory describes."""

    HOLE = "hole"  # a way to relay mail, or to carry connections, for strangers
    BEHAVIOUR = "behaviour"  # no way for strangers, but harmful or misleading
    INCIDENT = "incident"  # abuse in progress


class Weakness(StrEnum):
    """The weakness of a result line that an advisory belongs to."""

    OPEN_RELAY = "open-relay"
    OPEN_PROXY = "open-proxy"


class Risk(StrEnum):
    """How bad it is for the owner and for others."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class EaseOfFix(StrEnum):
    """What mending asks of the administrator."""

    SIMPLE = "simple"  # a line and a reload
    MODERATE = "moderate"  # several settings, or users must change theirs
    HARD = "hard"  # another network layout, another product, or an incident to clean up


class Complexity(StrEnum):
    """How much an abuser must know."""

    LOW = "low"  # one standard dialogue
    MEDIUM = "medium"  # a special address form or a name learned beforehand
    HIGH = "high"  # preparation elsewhere: DNS, accounts, a crafted session


class Popularity(StrEnum):
    """How much abusers use it."""

    OBSOLETE = "obsolete"  # seen in old software only
    RARE = "rare"
    OCCASIONAL = "occasional"
    POPULAR = "popular"
    WIDESPREAD = "widespread"


class Impact(StrEnum):
    """What is damaged."""

    ACCOUNTABILITY = "accountability"  # others' mail and connections bear our name and address
    AVAILABILITY = "availability"
    CONFIDENTIALITY = "confidentiality"
    INTEGRITY = "integrity"
    REPUTATION = "reputation"


class RootCause(StrEnum):
    """Where the mistake was made."""

    MISCONFIGURATION = "misconfiguration"
    UNSAFE_DEFAULT = "unsafe-default"
    SOFTWARE_DEFECT = "software-defect"
    NETWORK_DESIGN = "network-design"
    STOLEN_CREDENTIALS = "stolen-credentials"
    BY_DESIGN = "by-design"


class Role(StrEnum):
    """What the software of a guide is to the mail and the connections that pass."""

    SERVER = "server"  # takes mail: the advisories of mail servers, RW-1..., are its own
    PROXY = "proxy"  # carries connections or requests, on purpose or by mistake: RW-2... are its own
    SURROUNDINGS = "surroundings"  # what stands around any server: containers, gateways
    HISTORY = "history"  # no longer maintained; replace it
    GENERIC = "generic"  # advice for software that isn't known


class Standing(StrEnum):
    """How we know that a remedy mends."""

    LIVE = "live"  # applied in the lab to an open server that was then found closed
    DOCUMENTED = "documented"  # its source says so
    UNVERIFIED = "unverified"  # general knowledge


class Phase(StrEnum):
    """The order of work while a server is being abused."""

    STOP = "stop"
    HOLD = "hold"
    FIND = "find"
    PURGE = "purge"
    CLOSE = "close"
    DELIST = "delist"
