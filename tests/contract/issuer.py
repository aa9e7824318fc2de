"""A token issuer in this process: real RSA keys, no network."""

import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from headrace.contract.tokens import KeysUnavailable

ISSUER = "https://issuer.test"


class Issuer:
    """Signs tokens; `fetch` answers what its web server would."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.reachable = True
        self.key_id = "key-1"
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def rotate(self) -> None:
        """Sign with a new key, and publish that one alone."""
        self.key_id = "key-2"
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def fetch(self, url: str) -> Mapping[str, Any]:
        self.fetched.append(url)
        if not self.reachable:
            raise KeysUnavailable("the issuer is away")
        if url == f"{ISSUER}/.well-known/openid-configuration":
            return {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks"}
        assert url == f"{ISSUER}/jwks"
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": self.key_id, "alg": "RS256", "use": "sig"}]}

    def token(self, *, account: str, audience: str, now: float, **changes: Any) -> str:
        """A token as Google issues them, with any claims changed."""
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": account,
            "azp": account,
            "email": account,
            "email_verified": True,
            "iat": int(now),
            "exp": int(now) + 3600,
            **changes,
        }
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": self.key_id})
