"""The server's own token issuer: ID tokens and access tokens, shaped as Google shapes them.

A receiver verifies an ID token as it verifies Google's: discovery document, then JWKS, then RS256, issuer,
audience and expiry. Only the issuer differs, and it is a setting. Google's access tokens are opaque, and asked about
at its tokeninfo endpoint. Here they are JWTs of the same key for the issuer itself as audience, so that no receiver
of ID tokens takes one, and the same endpoint tells of them.
"""

import base64
import contextlib
import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from headrace.clock import Clock
from headrace.engine.model import Authorization, OAuthToken
from headrace.engine.store.folder import PRIVATE
from headrace.errors import StartError

LIFETIME = 3600
"""Seconds from a token's `iat` to its `exp`, as Google has it."""
_RENEWED_BEFORE_EXPIRY = LIFETIME / 2
_CACHED_TOKENS = 10_000
_ID_TYPE = "JWT"
_ACCESS_TYPE = "at+jwt"
"""The type that tells an access token from an ID token (RFC 9068)."""


def make_key() -> RSAPrivateKey:
    """A new RSA key of 2048 bits."""
    return generate_private_key(public_exponent=65537, key_size=2048)


def load_key(path: Path) -> RSAPrivateKey:
    """The key kept at `path`; when there is none, it is made there, with mode 0600. Raises StartError."""
    try:
        if not path.exists():
            path.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            _write_key(path, make_key())
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        hint = "Give this user the right to write there, or choose another folder."
        raise StartError(f"The token key {path} cannot be used: {error.strerror}.", hint=hint) from error
    except ValueError as error:
        raise StartError(f"{path} holds no private key.", hint="Remove the file to get a new one.") from error
    if not isinstance(key, RSAPrivateKey):
        raise StartError(f"{path} holds no RSA key.", hint="Remove the file to get a new one.")
    return key


def _write_key(path: Path, key: RSAPrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with open(unfinished, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    # Of two servers that start at one moment, the second finds the key of the first.
    with contextlib.suppress(FileExistsError):
        os.link(unfinished, path)
    unfinished.unlink()


class TokenIssuer:
    """Signs tokens and publishes the key that verifies them.

    A token is given out for half its life, to all pushes of the same account and audience or scope.
    """

    __slots__ = ("_cache", "_clock", "_key", "_key_id", "_public_numbers", "issuer")

    def __init__(self, issuer: str, key: RSAPrivateKey, clock: Clock) -> None:
        self.issuer = issuer
        self._key = key
        self._clock = clock
        self._public_numbers = _public_members(key)
        self._key_id = _thumbprint(self._public_numbers)
        self._cache: OrderedDict[Authorization, tuple[float, str]] = OrderedDict()

    def token(self, authorization: Authorization) -> str:
        """A signed token, good for at least half an hour from now: an ID token or an access token, as asked."""
        now = self._clock.now()
        renew_at, token = self._cache.get(authorization, (0.0, ""))
        if now >= renew_at:
            token = self._sign(authorization, int(now))
            self._cache[authorization] = (now + LIFETIME - _RENEWED_BEFORE_EXPIRY, token)
        self._cache.move_to_end(authorization)
        if len(self._cache) > _CACHED_TOKENS:
            self._cache.popitem(last=False)
        return token

    def _sign(self, authorization: Authorization, now: int) -> str:
        account_id = _account_id(authorization.service_account_email)
        if isinstance(authorization, OAuthToken):
            kind, purpose = _ACCESS_TYPE, {"aud": self.issuer, "scope": authorization.scope}
        else:
            kind, purpose = _ID_TYPE, {"aud": authorization.audience}
        claims = {
            "iss": self.issuer,
            **purpose,
            "azp": account_id,
            "sub": account_id,
            "email": authorization.service_account_email,
            "email_verified": True,
            "iat": now,
            "exp": now + LIFETIME,
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._key_id, "typ": kind})

    def describe_access_token(self, token: str) -> Mapping[str, str] | None:
        """What Google's tokeninfo endpoint tells of an access token, as strings; None for any that is not good."""
        found = self._verify(token)
        if found is None or found[0].get("typ") != _ACCESS_TYPE:
            return None
        claims = found[1]
        shown = {name: _show(claims[name]) for name in ("azp", "aud", "sub", "scope", "exp", "email", "email_verified")}
        return {**shown, "expires_in": str(claims["exp"] - int(self._clock.now())), "access_type": "online"}

    def describe_id_token(self, token: str) -> Mapping[str, str] | None:
        """What Google's tokeninfo endpoint tells of an ID token, as strings; None for any that is not good."""
        found = self._verify(token)
        if found is None or found[0].get("typ") != _ID_TYPE:
            return None
        header, claims = found
        return {name: _show(value) for name, value in (claims | header).items()}

    def _verify(self, token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Header and claims of a token that this issuer signed and that has not expired."""
        try:
            # The audience is the receiver's to check, and the times are those of this server's clock.
            found = jwt.decode_complete(
                token,
                self._key.public_key(),
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
        claims: dict[str, Any] = found["payload"]
        good = claims.get("iss") == self.issuer and claims["exp"] > self._clock.now()
        return (found["header"], claims) if good else None

    def jwks(self) -> Mapping[str, Any]:
        """The JSON Web Key Set (RFC 7517) with the public key."""
        return {"keys": [{**self._public_numbers, "kid": self._key_id, "alg": "RS256", "use": "sig"}]}

    def discovery(self, jwks_uri: str) -> Mapping[str, Any]:
        """The OpenID Connect discovery document, naming `jwks_uri` as the place of the keys."""
        return {
            "issuer": self.issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["aud", "azp", "email", "email_verified", "exp", "iat", "iss", "sub"],
        }


def _show(claim: object) -> str:
    """A claim as tokeninfo shows it: all is text."""
    return str(claim).lower() if isinstance(claim, bool) else str(claim)


def _account_id(email: str) -> str:
    """A stand-in for the 21-digit number that Google gives each service account, made from its address."""
    digest = hashlib.sha256(email.encode()).digest()
    return f"1{int.from_bytes(digest) % 10**20:020}"


def _public_members(key: RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"e": _base64url(numbers.e), "kty": "RSA", "n": _base64url(numbers.n)}


def _base64url(number: int) -> str:
    data = number.to_bytes((number.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _thumbprint(members: Mapping[str, str]) -> str:
    """The key's id: its RFC 7638 thumbprint, over the members in the order of their names."""
    text = "{" + ",".join(f'"{name}":"{members[name]}"' for name in sorted(members)) + "}"
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
