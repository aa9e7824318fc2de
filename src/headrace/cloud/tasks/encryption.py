"""Cloud Tasks v2: the methods on a location's encryption key. The key's name is kept; nothing is encrypted by it."""

import re

from headrace.cloud import names
from headrace.cloud.descriptors import Message
from headrace.cloud.documents import Documents
from headrace.cloud.errors import bad_mask, entity_missing, invalid
from headrace.cloud.services import Rpc
from headrace.cloud.tasks.messages import CmekConfig, GetCmekConfigRequest, UpdateCmekConfigRequest

_KEY = re.compile(r"projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+")
_MAX_KEY_LENGTH = 1000


class Encryption:
    """The CmekConfigs that were set, by location. `rpcs` holds the methods, by name."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self.rpcs: dict[str, Rpc] = {
            "GetCmekConfig": Rpc(GetCmekConfigRequest, self.get_config),
            "UpdateCmekConfig": Rpc(UpdateCmekConfigRequest, self.update_config),
        }

    async def get_config(self, request: Message) -> Message:
        """A location's config; NOT_FOUND until one was set."""
        written = self._documents.get(names.check_cmek_config(request.name))
        if written is None:
            raise entity_missing()
        return CmekConfig.FromString(written)

    async def update_config(self, request: Message) -> Message:
        """Set a location's key, or none."""
        config = CmekConfig(name=names.check_cmek_config(request.cmek_config.name), kms_key=request.cmek_config.kms_key)
        for path in request.update_mask.paths:
            if path != "kms_key":
                raise bad_mask("CmekConfig", path)
        if config.kms_key and (len(config.kms_key) > _MAX_KEY_LENGTH or not _KEY.fullmatch(config.kms_key)):
            raise invalid(
                "CmekConfig.kmsKey must be formatted: "
                '"projects/<PROJECT_ID>/locations/<LOCATION_ID>/keyRings/<KEY_RING_ID>/cryptoKeys/<KEY_ID>".'
            )
        await self._documents.put(config.name, config.SerializeToString())
        return config
