"""The edge's certificate: by an authority of the host's own, the operator's, or from an ACME authority. Host side.

``edge/tls.pem`` holds the private key, the leaf and its intermediates: one file, so that one rename replaces all.
"""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tandem.domain.refused import Refused
from tandem.hostside import x509
from tandem.hostside.secret_files import Store

TLS, CA_FILE = "edge/tls.pem", "edge/ca.crt"
OWN_CA, OWN_CA_KEY = "tls/ca.crt", "tls/ca.key"
OLD_KEY = "edge/tls.key"  # where older hosts have it
RENEW_DAYS = 30
LEFT = "nothing was changed"


class CertificateError(Refused):
    """A certificate cannot be used. Nothing was changed; no key is in the text."""


@dataclass(frozen=True)
class Pair:
    """A private key and the chain that stands for it, leaf first."""

    key: str
    chain: tuple[str, ...]

    @property
    def text(self) -> str:
        return self.key + "".join(self.chain)

    @cached_property
    def leaf(self) -> x509.Seen:
        return x509.read(self.chain[0])

    @cached_property
    def belongs(self) -> bool:
        return x509.public_key(self.key) == self.leaf.public_key


def settle(
    store: Store, names: Sequence[str], wanted: Mapping[str, Any], given: Mapping[str, str], *, fresh: bool = False
) -> None:
    """Bring ``edge/tls.pem`` and ``edge/ca.crt`` to what is wanted; what is good already stays as it is.

    ``names``: DNS names and addresses, the main one first. ``wanted``: {"kind": "generated" | "files" | "acme", ...}.
    ``given``: for files ``certificate`` and ``certificate_key`` (PEM); without them the one in use stays. ``fresh``: a
    generated certificate gets a new key now. For acme a generated one stands in until ``tandemctl certificate renew``
    has got the real one. Raises CertificateError before anything is changed.
    """
    check(names, wanted, given)
    if wanted["kind"] != "files":
        _own_ca(store, names)
    kinds: Mapping[str, Callable[[], Pair]] = {
        "generated": lambda: _generated(store, names, fresh),
        "files": lambda: _pair(given) if given.get("certificate") else _kept(store),
        "acme": lambda: _acme(store, names),
    }
    put(store, kinds[wanted["kind"]]())


def check(names: Sequence[str], wanted: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Whether ``settle`` can do that, as far as it can be said without the store. Raises CertificateError."""
    if wanted["kind"] not in ("generated", "files", "acme"):
        raise CertificateError(f"a certificate of kind {wanted['kind']!r} is not known; {LEFT}")
    addresses = [name for name in names if x509.address(name)]
    if wanted["kind"] == "acme" and addresses:
        raise CertificateError(
            f"an ACME authority is asked for DNS names only, not for {', '.join(addresses)}; {LEFT}: take it out of "
            "edge/server_name and edge/alternative_names"
        )
    if wanted["kind"] == "files" and given.get("certificate"):
        _check_files(names, given)


def current(store: Store) -> Pair | None:
    """What the edge serves; None if the file is missing or spoilt."""
    text = store.read(TLS) or ""
    chain, key = x509.blocks(text), x509.private_key(text)
    try:
        pair = Pair(key, tuple(chain)) if key and chain else None
        return pair if pair and pair.belongs else None
    except (ValueError, subprocess.SubprocessError):
        return None


def is_own(store: Store, pair: Pair) -> bool:
    """Whether the host's own authority signed it."""
    return x509.signed_by(pair.chain[0], store.read(OWN_CA) or "")


def put(store: Store, pair: Pair) -> None:
    """Write what is served, and what clients trust it by."""
    store.write(TLS, pair.text)
    store.write(CA_FILE, (store.read(OWN_CA) or "") if is_own(store, pair) else pair.chain[-1])


def _own_ca(store: Store, names: Sequence[str]) -> None:
    """The host's own authority, made once; made again only when its files are spoilt or it ends before a new leaf."""
    key, certificate = x509.private_key(store.secret(OWN_CA_KEY)), store.secret(OWN_CA)
    try:
        seen = x509.read(certificate)
        good = bool(key) and x509.public_key(key or "") == seen.public_key and seen.days_left > x509.LEAF_DAYS
    except ValueError:
        good = False
    if not good:
        key = x509.new_key()
        certificate = x509.make_ca(key, names[0])
        store.write(OWN_CA_KEY, key)
        store.write(OWN_CA, certificate)


def _generated(store: Store, names: Sequence[str], fresh: bool) -> Pair:
    """The leaf keeps its key when it is made anew: a client that pinned it goes on."""
    pair = None if fresh else current(store)
    if pair and not is_own(store, pair):
        pair = None
    if pair and pair.leaf.names == {x509.canonical(name) for name in names} and not _worn(pair.leaf):
        return pair
    return _leaf(store, names, None if fresh else pair.key if pair else x509.private_key(store.read(OLD_KEY) or ""))


def _worn(leaf: x509.Seen) -> bool:
    return leaf.days_left < RENEW_DAYS or leaf.lifetime_days > x509.LEAF_DAYS + 1


def _leaf(store: Store, names: Sequence[str], key: str | None) -> Pair:
    key = key or x509.new_key()
    return Pair(key, (x509.make_leaf(key, names, store.root / OWN_CA, store.root / OWN_CA_KEY),))


def _kept(store: Store) -> Pair:
    pair = current(store)
    if pair is None or is_own(store, pair):
        raise CertificateError(f"edge/certificate is of kind files and was not given; {LEFT}: run install again")
    return pair


def _acme(store: Store, names: Sequence[str]) -> Pair:
    """What an authority has signed stays while it is valid, for whatever names: ``renew`` gets the next one."""
    pair = current(store)
    if pair is None:
        return _leaf(store, names, x509.private_key(store.read(TLS) or ""))
    if not is_own(store, pair):
        return pair if pair.leaf.valid_now else _leaf(store, names, pair.key)
    return _generated(store, names, fresh=False)


def _pair(given: Mapping[str, str]) -> Pair:
    return Pair(x509.private_key(given.get("certificate_key", "")) or "", tuple(x509.blocks(given["certificate"])))


def _check_files(names: Sequence[str], given: Mapping[str, str]) -> None:
    pair = _pair(given)
    if not pair.chain:
        raise CertificateError(f"edge/certificate/certificate holds no PEM certificate; {LEFT}")
    if not pair.key:
        raise CertificateError(
            f"edge/certificate/key holds no private key that can be read (PEM, without a passphrase); {LEFT}"
        )
    try:
        seen = [x509.read(one) for one in pair.chain]
    except ValueError:
        raise CertificateError(f"edge/certificate/certificate can't be read by openssl; {LEFT}") from None
    public = x509.public_key(pair.key)
    if seen[0].public_key != public:
        places = [number for number, one in enumerate(seen, 1) if one.public_key == public]
        problem = (
            f"its own certificate is number {places[0]} in edge/certificate/certificate; put it first"
            if places
            else "edge/certificate/key is not the key of edge/certificate/certificate"
        )
        raise CertificateError(f"{problem}; {LEFT}")
    if missing := seen[0].lacks(names):
        raise CertificateError(
            f"the certificate of edge/certificate does not name {', '.join(missing)} (it names "
            f"{', '.join(sorted(seen[0].names)) or 'nothing'}); {LEFT}: give one that does, or correct "
            "edge/server_name and edge/alternative_names"
        )
    for number, one in enumerate(seen, 1):
        if not one.valid_now:
            raise CertificateError(
                f"certificate {number} of edge/certificate is valid from {one.begins:%Y-%m-%d} to "
                f"{one.ends:%Y-%m-%d}, not now; {LEFT}"
            )
    for number, (signed, issuer) in enumerate(zip(pair.chain, pair.chain[1:], strict=False), 1):
        if not x509.signed_by(signed, issuer):
            raise CertificateError(
                f"certificate {number} of edge/certificate is not signed by number {number + 1}; {LEFT}: the order is "
                "your own, then the one that signed it, and so on"
            )
