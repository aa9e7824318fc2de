"""The payloads of the handlers, as the code and as openapi.yaml describe them."""

import pytest
from marshmallow import ValidationError, fields

from handlers import payloads
from headrace.config.settings import load_settings
from headrace.contract.agreement import disagreements
from headrace.contract.check import load_contract
from headrace.contract.operations import Contract
from headrace.errors import PushRefused
from tests.governance.test_contract_files import APP


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract(APP, load_settings({}, folder=APP))


HANDLERS = ["handlers.access.synchronize_user_access", "handlers.projects.audit_project_access"]


@pytest.mark.parametrize("handler", HANDLERS)
def test_code_and_contract_agree_on_the_ids_of_users(contract: Contract, handler: str):
    operation = contract.by_id[handler]
    assert operation.schema is payloads.USER_ID
    assert operation.payload is not None
    assert disagreements(payloads.USER_ID, contract.document, operation.payload) == []
    assert disagreements(fields.Integer(), contract.document, operation.payload) != []


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", None, True])
def test_code_and_contract_refuse_the_same_ids(contract: Contract, value: object):
    operation = contract.by_id[HANDLERS[0]]
    with pytest.raises(PushRefused):
        contract.check_payload(operation, [value])
    with pytest.raises(ValidationError):
        payloads.USER_ID.deserialize(value)


def test_code_and_contract_take_an_id(contract: Contract):
    contract.check_payload(contract.by_id[HANDLERS[0]], [7])
    assert payloads.USER_ID.deserialize(7) == 7
