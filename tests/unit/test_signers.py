"""Which credential a provider's settings mean: a key that is sent as it is, or one that signs."""

from typing import Any

import pytest

from proxy.core.errors import ConfigError
from proxy.pipeline.signers import signer_for
from proxy.provider_config import Provider
from proxy.providers.bedrock_signing import SigV4Signer

ADDRESS = "https://bedrock-runtime.us-east-1.amazonaws.com"
PAIR: dict[str, Any] = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret"}


@pytest.mark.parametrize("dialect", ["openai", "bedrock", "vertex"])
def test_a_key_is_sent_as_it_is(dialect: str) -> None:
    assert signer_for(Provider(**PAIR, service_account_file="/no/such"), dialect, ADDRESS, "key") is None


@pytest.mark.parametrize("dialect", ["bedrock", "openai", "anthropic"])
def test_a_pair_of_keys_signs_whatever_the_dialect(dialect: str) -> None:
    assert isinstance(signer_for(Provider(**PAIR), dialect, ADDRESS, ""), SigV4Signer)


def test_half_a_pair_is_said() -> None:
    with pytest.raises(ConfigError, match="two parts"):
        signer_for(Provider(access_key_id="AKIDEXAMPLE"), "bedrock", ADDRESS, "")


def test_a_service_account_that_is_not_there_is_said() -> None:
    with pytest.raises(ConfigError):
        signer_for(Provider(service_account_file="/no/such/file"), "vertex", "https://aiplatform.googleapis.com", "")


def test_a_provider_of_one_s_own_needs_neither() -> None:
    assert signer_for(Provider(), "openai", "http://127.0.0.1:8000/v1", "") is None
