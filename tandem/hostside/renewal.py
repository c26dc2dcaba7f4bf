"""What the daily timer runs: the edge's certificate is renewed in time, without a reload. Runs on the host as root.

Nginx reads ``edge/tls.pem`` at each handshake. Whatever fails, the certificate in use stays.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem.domain.refused import Refused
from tandem.hostside import certificates, x509
from tandem.hostside.acme import Authority, NoCertificate, order
from tandem.hostside.certificates import RENEW_DAYS, Pair
from tandem.hostside.failed import Failed
from tandem.hostside.files import write_atomic
from tandem.hostside.lock import lock
from tandem.hostside.paths import Paths
from tandem.hostside.secret_files import Owners, Store

WARN_DAYS = 14
"""The operator's own certificate: from here on the daily run fails, so that somebody notices."""

LOCK_WAIT_SECONDS = 30.0


class NotRenewed(Failed):
    """It could not be renewed, or the operator has to. The text says why and how long the one in use lasts."""


@dataclass(frozen=True)
class Due:
    """Whether something is to be done, and the sentence that says how the certificate stands."""

    due: bool
    sentence: str
    order: Mapping[str, Any] | None


def look(paths: Paths) -> Due:
    """How the certificate in use stands, for a plan. Changes nothing."""
    wanted = _wanted(paths)
    store = Store(paths.secrets)
    pair = certificates.current(store)
    if wanted is None or pair is None:
        return Due(True, "there is no certificate yet", wanted)
    names, kind = wanted["names"], wanted["certificate"]["kind"]
    if kind == "acme":
        issued = _issued(paths, wanted, pair.key)
        due = issued is None or issued != pair.chain
    else:
        due = kind == "generated" and (pair.leaf.days_left < RENEW_DAYS or bool(pair.leaf.lacks(names)))
    return Due(due, standing(pair), wanted)


def renew(paths: Paths, who: str, tell: Callable[[str], None], owners: Owners | None = None) -> str:
    """Renew the certificate if that is due; return the sentence that says how it stands now.

    Raises NotRenewed, and Refused before install has run or while somebody else changes the host.
    """
    wanted = _wanted(paths)
    store = Store(paths.secrets, owners or Owners())
    if wanted is None or certificates.current(store) is None:
        raise Refused(f"{paths.certificate} or the certificate is missing. Nothing was changed. Run install first.")
    kind = wanted["certificate"]["kind"]
    if kind == "files":
        return _warned(certificates.current(store))
    # For acme this is what stands in while the authority has not answered: it ends like any other.
    said = _put(paths, store, who, lambda _now: certificates.settle(store, wanted["names"], wanted["certificate"], {}))
    if kind == "generated":
        return said
    with lock(paths.acme / "lock", who, "get a certificate", LOCK_WAIT_SECONDS):
        chain = _obtained(paths, store, wanted, tell)
        return _put(paths, store, who, lambda now: certificates.put(store, _with_chain(now, chain)))


def standing(pair: Pair) -> str:
    leaf = pair.leaf
    return f"the certificate for {', '.join(sorted(leaf.names))} is valid {_lasting(leaf)}"


def _lasting(leaf: x509.Seen) -> str:
    days = leaf.days_left
    return (
        f"until {leaf.ends:%Y-%m-%d %H:%M} UTC ({days:.0f} days)" if days > 0 else f"no more since {leaf.ends:%Y-%m-%d}"
    )


def _wanted(paths: Paths) -> dict[str, Any] | None:
    """What install rendered; None before that."""
    try:
        found = json.loads(paths.certificate.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise Refused(f"{paths.certificate} was changed by hand. Nothing was changed. Run install again.") from None
    return {**found}


def _warned(pair: Pair | None) -> str:
    if pair is None:
        raise Refused("the certificate is missing. Nothing was changed. Run install first.")
    if pair.leaf.days_left < WARN_DAYS:
        raise NotRenewed(
            f"{standing(pair)}: put a new one where edge/certificate names it and run install; nothing renews it by "
            "itself"
        )
    return standing(pair)


def _put(paths: Paths, store: Store, who: str, write: Callable[[Pair], None]) -> str:
    """Under the lock of everything that changes the host; the network has been waited for before."""
    with lock(paths.lock, who, "put a certificate in place", LOCK_WAIT_SECONDS):
        before = certificates.current(store)
        if before is None:
            raise Refused(f"{store.root}/{certificates.TLS} is gone. Nothing was changed. Run install again.")
        write(before)
        now = certificates.current(store) or before
    return f"{'nothing to do' if now == before else 'renewed'}: {standing(now)}"


def _with_chain(now: Pair, chain: tuple[str, ...]) -> Pair:
    pair = Pair(now.key, chain)
    if not pair.belongs:
        raise Refused("the certificate's key was replaced meanwhile. Nothing was changed. Run the same command again.")
    return pair


def _obtained(paths: Paths, store: Store, wanted: Mapping[str, Any], tell: Callable[[str], None]) -> tuple[str, ...]:
    """The chain that the authority issued: the one kept from before, or a new one.

    It is kept before it is put in place, so that a run cut short between the two does not order once more: authorities
    count.
    """
    pair, names, options = certificates.current(store), wanted["names"], wanted["certificate"]
    if pair is None:
        raise Refused(f"{store.root}/{certificates.TLS} is gone. Nothing was changed. Run install again.")
    if issued := _issued(paths, wanted, pair.key):
        return issued
    authority = Authority(options["directory"], options["email"], options.get("authority") or "")
    try:
        chain = tuple(order(paths.acme, authority, pair.key, names, tell))
        if not Pair(pair.key, chain).belongs or Pair(pair.key, chain).leaf.lacks(names):
            raise NoCertificate("what it issued is for another key or lacks a name")
    except (NoCertificate, ValueError) as error:
        raise NotRenewed(_failure(pair, authority, names, str(error), certificates.is_own(store, pair))) from None
    write_atomic(_record(paths), json.dumps({"directory": authority.directory, "chain": chain}), "0600")
    return chain


def _failure(pair: Pair, authority: Authority, names: Sequence[str], reason: str, own: bool) -> str:
    stays = "The host's own certificate stays in use meanwhile" if own else "The one in use stays"
    return (
        f"no certificate from {authority.directory}: {reason}. {stays}, valid {_lasting(pair.leaf)}. The authority "
        f"must reach http://{names[0]}/.well-known/acme-challenge/ on port 80. It is tried again once a day; at once "
        "by `tandemctl certificate renew`."
    )


def _record(paths: Paths) -> Path:
    return paths.acme / "issued.json"


def _issued(paths: Paths, wanted: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    """The chain that this authority issued for this key and these names and that lasts; None if there is none."""
    try:
        record = json.loads(_record(paths).read_text(encoding="utf-8"))
        pair = Pair(key, tuple(record["chain"]))
        good = record["directory"] == wanted["certificate"]["directory"] and pair.belongs
        return pair.chain if good and not pair.leaf.lacks(wanted["names"]) and not _ends_soon(pair.leaf) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError):
        return None


def _ends_soon(leaf: x509.Seen) -> bool:
    """In the last third of its life or its last 30 days, whichever is shorter: some authorities give days only."""
    return leaf.days_left < min(RENEW_DAYS, leaf.lifetime_days / 3)
