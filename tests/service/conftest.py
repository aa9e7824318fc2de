"""The same fixtures as those of the contract's tests."""

from tests.contract.conftest import files, issuer, issuer_keys, running

__all__ = ["files", "issuer", "issuer_keys", "running"]
