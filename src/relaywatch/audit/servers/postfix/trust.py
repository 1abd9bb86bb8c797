"""Client certificates (TLS_README): whose certificate a listener takes for a permission."""

from __future__ import annotations

from dataclasses import dataclass

from relaywatch.audit.claims import Claim, ClaimKind
from relaywatch.audit.conditions import Way
from relaywatch.audit.findings import Cause, Gap

from .lists import items
from .parameters import Parameters
from .tables import StaticTable, Tables

_PUBLIC = (
    "/etc/ssl/cert",
    "/etc/pki/",
    "/usr/share/ca-certificates",
    "/usr/local/share/certs",
    "/usr/share/ssl",
)
_MOST_OWN = 10
"""Certificates in a file of authorities beyond which it isn't the owner's own."""
_SEVERAL = ("AA:BB:CC:DD", "01:23:45:67:89:AB")


@dataclass(frozen=True, slots=True)
class Certificates:
    """What a service does with client certificates."""

    parameters: Parameters
    tables: Tables

    @property
    def offers_tls(self) -> bool:
        """Whether a stranger can encrypt."""
        return self.parameters.text("smtpd_tls_security_level").lower() in {"may", "encrypt"} or any(
            map(self.parameters.is_yes, ("smtpd_use_tls", "smtpd_enforce_tls", "smtpd_tls_wrappermode"))
        )

    @property
    def asks(self) -> bool:
        """Whether it asks clients for a certificate."""
        asked = any(map(self.parameters.is_yes, ("smtpd_tls_ask_ccert", "smtpd_tls_req_ccert")))
        return self.offers_tls and asked

    def required(self) -> list[Way]:
        """The ways to be let in at all: nothing is asked, or no more than a trusted certificate."""
        level = self.parameters.text("smtpd_tls_security_level").lower()
        insists = level == "encrypt" or self.parameters.is_yes("smtpd_tls_wrappermode")
        return self.trusted() if insists and self.parameters.is_yes("smtpd_tls_req_ccert") else [Way()]

    def trusted(self) -> list[Way]:
        """The ways to have a certificate that the service trusts."""
        if not self.asks:
            return []
        if self.parameters.is_yes("tls_append_default_CA"):
            position = self.parameters.position("tls_append_default_CA")
            return [_public(Cause("tls_append_default_CA = yes", position))]
        for name in ("smtpd_tls_CAfile", "smtpd_tls_CApath"):
            value = self.parameters.value(name)
            cause = Cause(f"{name} = {value.text}"[:200], value.position)
            if value.text.startswith(_PUBLIC):
                return [_public(cause)]
            if value.text and name == "smtpd_tls_CAfile":
                source = self.tables.read(value.text, value.position)
                if isinstance(source, Gap):
                    return [Way(gaps=frozenset({source}), causes=(cause,))]
                if source.text.count("BEGIN CERTIFICATE") > _MOST_OWN:
                    return [_public(cause)]
        return []

    def takes_any(self) -> bool:
        """Whether relay_clientcerts lists every certificate that there may be."""
        if not self.asks:
            return False
        for item in items(self.parameters.value("relay_clientcerts"), self.tables):
            if isinstance(item.table, StaticTable):
                return True
            rows = list(item.table.rows()) if item.table is not None else []
            if any(row.pattern and all(map(row.pattern.holds, _SEVERAL)) for row in rows):
                return True
        return False


def _public(cause: Cause) -> Way:
    claim = Claim(ClaimKind.CERTIFICATE, "of any public authority")
    return Way(frozenset({claim}), causes=(cause,))
