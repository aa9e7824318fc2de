"""OIDC tokens of the queue and the scheduler: verified once, then remembered until they expire.

Facts of the tokens (RS256, `iss`, `aud`, `email`, `email_verified`, an hour of life) are Google's; the queue server
issues the same. Keys are found by OpenID Connect Discovery 1.0. Nothing is fetched before the first token comes.
"""

import json
import threading
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from headrace.clock import Clock
from headrace.errors import Unauthenticated

# Seconds that clocks of issuer and service may be apart.
LEEWAY = 10.0

# Keys are asked for again when a token names one that is not known, but not more often than this, in seconds,
# so that forged tokens cannot make this service flood the issuer; and after a day in any case.
_BETWEEN_FETCHES = 10.0
_KEYS_LIVE = 86_400.0

_REMEMBERED_TOKENS = 1_024
_FETCH_TIMEOUT = 5.0
_FETCH_LIMIT = 1024 * 1024

Fetch = Callable[[str], Mapping[str, Any]]


class KeysUnavailable(Exception):
    """The issuer could not be asked for its keys."""


def fetch_json(url: str) -> Mapping[str, Any]:
    """The JSON object at an http or https URL, within 5 seconds and 1 MiB.

    Raises KeysUnavailable.
    """
    if not url.startswith(("http://", "https://")):
        raise KeysUnavailable(f"{url} is no URL of a web server")
    try:
        with urllib.request.urlopen(url, timeout=_FETCH_TIMEOUT) as response:  # noqa: S310 - scheme checked above
            found = json.loads(response.read(_FETCH_LIMIT))
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise KeysUnavailable(f"{url} gave no keys: {error}") from error
    if not isinstance(found, dict):
        raise KeysUnavailable(f"{url} gave no JSON object")
    return found


class Keys:
    """The public keys of one issuer, by key id. Thread-safe."""

    def __init__(self, issuer: str, clock: Clock, fetch: Fetch = fetch_json) -> None:
        self._issuer = issuer
        self._clock = clock
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")

    def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key with this id; the issuer is asked when it is not known yet.

        Raises KeysUnavailable.
        """
        with self._lock:
            now = self._clock.now()
            known = key_id in self._keys
            stale = now - self._fetched_at >= _KEYS_LIVE
            if (stale or not known) and now - self._asked_at >= _BETWEEN_FETCHES:
                self._asked_at = now
                try:
                    self._keys = self._load()
                    self._fetched_at = now
                except KeysUnavailable:
                    # Known keys serve on while the issuer is away.
                    if not known:
                        raise
            if not self._keys:
                raise KeysUnavailable(f"the keys of {self._issuer} could not be fetched a moment ago")
            return self._keys.get(key_id)

    def _load(self) -> Mapping[str, jwt.PyJWK]:
        configuration = self._fetch(f"{self._issuer}/.well-known/openid-configuration")
        try:
            keys = self._fetch(configuration["jwks_uri"])["keys"]
            return {key["kid"]: jwt.PyJWK(key, "RS256") for key in keys if key.get("kty") == "RSA"}
        except (KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise KeysUnavailable(f"{self._issuer} publishes no keys that can be read: {error}") from error


@dataclass(frozen=True, slots=True)
class _Claims:
    audience: str
    email: str
    expires_at: float


class TokenVerifier:
    """Says whether a token is one that `issuer` gave to an account for an audience. Thread-safe.

    `others` are more issuers that are believed, each with what fetches its keys.
    """

    def __init__(
        self, issuer: str, clock: Clock, fetch: Fetch = fetch_json, others: Mapping[str, Fetch] | None = None
    ) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys = {name: Keys(name, clock, get) for name, get in {**(others or {}), issuer: fetch}.items()}
        self._lock = threading.Lock()
        self._verified: OrderedDict[str, _Claims] = OrderedDict()

    def verify(self, token: str, *, audience: str, email: str) -> None:
        """Return when the token is sound, of this account, for this audience, and has not expired.

        Raises Unauthenticated with the reason; the token itself is never told.
        """
        with self._lock:
            claims = self._verified.get(token)
        known = claims is not None
        if claims is None:
            claims = self._decode(token)
        if self._clock.now() >= claims.expires_at + LEEWAY:
            raise _refused("it has expired")
        if claims.audience != audience:
            raise _refused(f"its audience is not {audience}", "HEADRACE_SERVICE_URL is the audience to ask for.")
        if claims.email != email:
            raise _refused(f"it is not a token of {email}")
        if not known:
            self._remember(token, claims)

    def _decode(self, token: str) -> _Claims:
        try:
            header = jwt.get_unverified_header(token)
            issuer = self._issuer_of(token)
            key = self._keys[issuer].find(str(header.get("kid", ""))) if header.get("alg") == "RS256" else None
        except jwt.PyJWTError as error:
            raise _refused("it is not a JSON Web Token") from error
        except KeysUnavailable as error:
            raise _refused(str(error)) from error
        if header.get("alg") != "RS256":
            raise _refused("it is not signed with RS256")
        if key is None:
            raise _refused(f"{issuer} has no key of its key id")
        try:
            # Times and audience are compared by `verify`: by the clock that was passed in, on every call.
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                issuer=issuer,
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "verify_aud": False,
                },
            )
        except jwt.InvalidSignatureError as error:
            raise _refused("its signature is not the issuer's") from error
        except jwt.InvalidIssuerError as error:
            raise _refused(f"its issuer is not {issuer}") from error
        except jwt.PyJWTError as error:
            raise _refused("its claims are incomplete") from error
        return _read_claims(claims)

    def _issuer_of(self, token: str) -> str:
        """The issuer whose keys are to verify the token: the one it names, where that is believed at all."""
        named = jwt.decode(token, options={"verify_signature": False}).get("iss")
        return named if isinstance(named, str) and named in self._keys else self._issuer

    def _remember(self, token: str, claims: _Claims) -> None:
        with self._lock:
            self._verified[token] = claims
            while len(self._verified) > _REMEMBERED_TOKENS:
                self._verified.popitem(last=False)


def _read_claims(claims: Mapping[str, Any]) -> _Claims:
    audience, email, expires = claims["aud"], claims.get("email"), claims["exp"]
    if not isinstance(audience, str) or not isinstance(email, str) or not isinstance(expires, int | float):
        raise _refused("its claims are incomplete")
    if claims.get("email_verified") is not True:
        raise _refused("the e-mail address of its account is not verified")
    return _Claims(audience, email, float(expires))


def _refused(reason: str, hint: str = "") -> Unauthenticated:
    return Unauthenticated(f"The token was refused: {reason}.", hint=hint)
